"""The PyTorch engine computes what the compiled graphs do, and any method of pytorch-grad-cam."""

import builtins
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch.utils._python_dispatch import TorchDispatchMode

from heatlens.card import TorchWeights, read_card, write_card
from heatlens.engines.resources import Machine
from heatlens.errors import EngineError, InvalidOption, TooManyPasses
from heatlens.explain.attribution import METHOD_NAMES
from heatlens.model import Model, load_model
from heatlens.pipeline import explain
from heatlens.results import Explanation
from heatlens.settings import DEMO_MODEL, LIMITS
from heatlens.types import Options, Upload
from heatlens_torch.compile import compile_model
from heatlens_torch.engine import TorchEngine
from heatlens_torch.loading.checkpoints import digest_of
from heatlens_torch.proof.method_names import CLASSES, HEAT_ONLY, METHODS, SESS_PASSES
from tests.functional.compile.test_layers import network_and_images, write
from tests.support.engines import calls_wrong_in_threads, largest_difference, mixed_calls, run_call, run_tail
from tests.support.images import encoded, noise
from tests.support.paths import ROOT

LAYERS = {"three": ["layer4", "layer3"], "vit": ["encoder.layers.encoder_layer_0"]}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here that PyTorch can use")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small networks of each layout, compiled with their weights."""
    made = {}
    for factory, layers in LAYERS.items():
        home = tmp_path_factory.mktemp(factory)
        compile_model(write(home, factory, layers), home / "out", with_torch=True)
        made[factory] = home / "out"
    return made


def demo_with_weights(folder: Path) -> Path:
    """The demo model as `compile --with-torch` would have left it."""
    shutil.copytree(DEMO_MODEL, folder)
    weights = shutil.copy(ROOT / "layers/heatlens_torch/demo/weights.safetensors", folder)
    architecture = "heatlens_torch.demo.network:build"
    stored = TorchWeights(file=Path(weights).name, sha256=digest_of(Path(weights)), architecture=architecture)
    write_card(read_card(folder)[0].model_copy(update={"torch": stored}), folder)
    return folder


@pytest.fixture(scope="module")
def three(folders: dict[str, Path]) -> Model:
    return load_model(folders["three"], engine="torch")


@pytest.fixture(scope="module")
def tokens(folders: dict[str, Path]) -> Model:
    return load_model(folders["vit"], engine="torch")


@pytest.mark.parametrize(("model", "factory"), [("three", "three"), ("tokens", "vit")])
def test_it_computes_what_openvino_does(
    model: str, factory: str, folders: dict[str, Path], request: pytest.FixtureRequest
) -> None:
    ours: Model = request.getfixturevalue(model)
    theirs = load_model(folders[factory], engine="openvino")

    assert ours.engine.name == "torch"
    for layer in LAYERS[factory]:
        assert largest_difference(ours.engine_of(layer), theirs.engine_of(layer), mixed_calls(ours.card)) < 1e-4


def test_it_computes_what_openvino_does_of_the_demo_model(tmp_path: Path, demo_model: Model) -> None:
    ours = load_model(demo_with_weights(tmp_path / "demo"), engine="torch")

    assert largest_difference(ours.engine, demo_model.engine, mixed_calls(ours.card)) < 1e-4


def test_an_altered_activation_is_what_the_tail_starts_from(three: Model, folders: dict[str, Path]) -> None:
    openvino = load_model(folders["three"], engine="openvino").engine
    [call] = mixed_calls(three.card, 1)
    activation, *others = three.engine.trunk(call.batch)
    activation[:, ::2] = 0

    ours, theirs = (run_tail(engine, [activation, *others], call.selector) for engine in (three.engine, openvino))

    for one, other in zip(ours, theirs, strict=True):
        assert np.abs(one - other).max() <= 1e-4 * np.abs(other).max()


def test_results_of_many_threads_are_bit_identical_to_those_of_one(three: Model) -> None:
    assert calls_wrong_in_threads(three.engine, mixed_calls(three.card)) == []


def test_results_do_not_depend_on_earlier_calls(three: Model) -> None:
    first, *others = mixed_calls(three.card)
    alone = run_call(three.engine, first)
    copies = [values.copy() for values in alone]
    for call in others:
        run_call(three.engine, call)
    three.engine.maps("scorecam", first.batch, first.selector)  # type: ignore[attr-defined]

    again = run_call(three.engine, first)

    assert all(np.array_equal(*pair) for pair in zip(again, copies, strict=True))
    assert all(np.array_equal(*pair) for pair in zip(alone, copies, strict=True)), "an answer was written over"


class Convolutions(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Counts them, forward and backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        self.count += "convolution" in str(func)
        return func(*args, **kwargs or {})


def test_only_the_tail_is_differentiated(three: Model) -> None:
    [call] = mixed_calls(three.card, 1)
    counts = {}
    for layer in LAYERS["three"]:
        engine = three.engine_of(layer)
        crossing = engine.trunk(call.batch)
        with Convolutions() as counter:
            engine.tail(crossing, call.selector)
        counts[layer] = counter.count

    assert counts == {"layer4": 0, "layer3": 2}, "behind layer3 there is one: forward, and backward to its input"


def test_bfloat16_rounds_like_autocast(folders: dict[str, Path]) -> None:
    card, _ = read_card(folders["three"])
    if "bf16" not in card.layer().agreements:
        pytest.skip("this processor has no bfloat16: the card has no agreement for it")
    rounded, exact = (load_model(folders["three"], engine="torch", precision=each) for each in ("bf16", "f32"))
    batch = mixed_calls(card, 1)[0].batch

    difference = np.abs(rounded.engine.trunk(batch)[0] - exact.engine.trunk(batch)[0]).max()

    assert (rounded.engine.precision, exact.engine.precision) == ("bf16", "f32")
    assert 1e-5 < difference / np.abs(exact.engine.trunk(batch)[0]).max() < 5e-2


def test_threads_follow_the_share_of_processors(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)

    load_model(folders["three"], engine="torch", machine=Machine(processors=1.7))
    load_model(folders["three"], engine="torch", machine=Machine(processors=1.7), threads=5)
    load_model(folders["three"], engine="torch", machine=Machine())

    assert asked == [2, 5]


def test_it_needs_none_of_the_compilers_tools(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from heatlens.model import load_model
load_model(Path({str(demo_with_weights(tmp_path / "demo"))!r}), engine="torch")
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout

    assert {"numpy", "torch"} <= set(loaded.split())
    assert {"onnx", "onnxscript", "onnxruntime", "pytorch_grad_cam", "cv2", "sklearn", "nncf"} & set(
        loaded.split()
    ) == set()


# ----------------------------------------------------------------------------------------------------------- any method


EXPLAINED = [2, 0]


@pytest.mark.parametrize("method", sorted(set(CLASSES) - {"randomcam"}))
def test_each_method_equals_pytorch_grad_cam(method: str, three: Model, folders: dict[str, Path]) -> None:
    network, batch = network_and_images(folders["three"].parent / "model.toml", 2)
    assert isinstance(three.engine, TorchEngine)

    ours = three.engine.maps(method, batch, np.eye(3, dtype=np.float32)[EXPLAINED])

    cam = getattr(pytorch_grad_cam, CLASSES[method])(network, [network.get_submodule("layer4")])
    targets = [ClassifierOutputTarget(index) for index in EXPLAINED]
    theirs = (
        np.concatenate([cam(torch.from_numpy(batch[row : row + 1]), target_idx=EXPLAINED[row]) for row in range(2)])
        if method == "finercam"
        else cam(torch.from_numpy(batch), targets=targets)
    )
    assert ours.dtype == np.float32
    if method in HEAT_ONLY:
        assert ours == pytest.approx(theirs, abs=1e-4)
    else:
        assert ours.shape == (2, *three.card.layer("layer4").shape[1:])
        heat = scale_cam_image(scale_cam_image(np.maximum(ours, 0), batch.shape[:1:-1]))
        assert heat == pytest.approx(theirs, abs=1e-4)


def test_the_core_and_the_engine_have_every_method_between_them() -> None:
    assert set(METHODS) == set(CLASSES) - set(METHOD_NAMES)
    assert set(METHOD_NAMES) - set(CLASSES) == {"reciprocam"}  # which pytorch-grad-cam does not have
    exported = {name: each for name, each in vars(pytorch_grad_cam).items() if isinstance(each, type)}
    cams = {name for name, each in exported.items() if issubclass(each, BaseCAM)} | {"FinerCAM", "SESS", "RefineCAM"}
    assert set(CLASSES.values()) == cams


def test_the_passes_of_sess_are_counted(three: Model) -> None:
    assert isinstance(three.engine, TorchEngine)
    [call] = mixed_calls(three.card, 1)
    rows: list[int] = []
    network = three.engine._network
    handle = network.register_forward_hook(lambda _module, inputs, _output: rows.append(len(inputs[0])))
    try:
        three.engine.maps("sess", call.batch, call.selector)
    finally:
        handle.remove()

    assert sum(rows) == SESS_PASSES + 1, "one to see what is predicted"


def test_eigen_smooth_changes_the_map(three: Model) -> None:
    assert isinstance(three.engine, TorchEngine)
    [call] = mixed_calls(three.card, 1)

    plain, smooth = (
        three.engine.maps("shapleycam", call.batch, call.selector, eigen_smooth=each) for each in (False, True)
    )

    assert plain.shape == smooth.shape
    assert np.abs(plain - smooth).max() > 1e-3 * np.abs(plain).max()


@pytest.mark.parametrize("method", ["fem", "fullgrad"])
def test_a_request_may_name_a_method_of_the_engine(method: str, three: Model, tiny_model: Model) -> None:
    limits = LIMITS
    options = Options(method=method, target=("top-2",))
    upload = Upload("a.png", encoded(noise((60, 50))))

    [explained] = explain(three, [upload], options, limits=limits, batch_images=8)

    assert isinstance(explained, Explanation)
    assert [each.overlay is not None for each in explained.explained] == [True, True]
    size = three.card.preprocess.shape if method in HEAT_ONLY else three.card.layer().shape[1:]
    assert explained.signed_map.shape == size
    assert three.facts(options)["method"] == method
    with pytest.raises(InvalidOption, match=f"unknown method '{method}': one of gradcam, "):
        explain(tiny_model, [upload], options, limits=limits, batch_images=8)


def test_a_request_is_charged_the_methods_passes(three: Model) -> None:
    limits = LIMITS.model_copy(update={"passes": SESS_PASSES})
    upload = Upload("a.png", encoded(noise((60, 50))))

    with pytest.raises(TooManyPasses, match="sess runs the network 258 times for an image, 516 times"):
        explain(three, [upload] * 2, Options(method="sess"), limits=limits, batch_images=8)


def test_gradcam_of_the_engine_equals_gradcam_from_the_tail(three: Model) -> None:
    [call] = mixed_calls(three.card, 1, most=3)
    assert isinstance(three.engine, TorchEngine)
    activation, _, gradient = run_call(three.engine, call)

    signed = (gradient.mean(axis=(2, 3), keepdims=True) * activation).sum(axis=1)

    assert three.engine.maps("gradcam", call.batch, call.selector) == pytest.approx(
        signed, abs=1e-4 * float(signed.max())
    )


@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "fem"])
def test_a_method_sees_the_grid_of_tokens(method: str, tokens: Model) -> None:
    assert isinstance(tokens.engine, TorchEngine)
    [call] = mixed_calls(tokens.card, 1)

    maps = tokens.engine.maps(method, call.batch, call.selector)

    assert maps.shape == (1, *tokens.card.layer().shape[1:])
    assert np.isfinite(maps).all()


def test_a_method_that_pytorch_grad_cam_cannot_run_is_one_sentence(three: Model, tokens: Model) -> None:
    [call] = mixed_calls(three.card, 1)
    assert isinstance(three.engine, TorchEngine)
    assert isinstance(tokens.engine, TorchEngine)

    with pytest.raises(EngineError, match="no method 'psychiccam': it has gradcam, "):
        three.engine.maps("psychiccam", call.batch, call.selector)
    with pytest.raises(EngineError, match=r"cannot explain layer 'encoder.* of this network by shapleycam"):
        tokens.engine.maps("shapleycam", *vars(mixed_calls(tokens.card, 1)[0]).values())


def test_without_pytorch_grad_cam_its_methods_are_refused(three: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def importing(name: str, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 - passes through
        if name.startswith("pytorch_grad_cam"):
            raise ModuleNotFoundError(name=name)
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "heatlens_torch.proof.reference")
    monkeypatch.delattr("heatlens_torch.proof.reference")
    monkeypatch.setattr(builtins, "__import__", importing)
    [call] = mixed_calls(three.card, 1)
    assert isinstance(three.engine, TorchEngine)

    with pytest.raises(EngineError, match="the method fem needs pytorch-grad-cam"):
        three.engine.maps("fem", call.batch, call.selector)


# ----------------------------------------------------------------------------------------------------------------- CUDA


@needs_cuda
@pytest.mark.parametrize("factory", LAYERS)
def test_a_gpu_computes_what_openvino_does(factory: str, folders: dict[str, Path]) -> None:
    ours, theirs = (load_model(folders[factory], engine=name) for name in ("torch", "openvino"))

    assert ours.engine.device == "CUDA"
    for layer in LAYERS[factory]:
        assert largest_difference(ours.engine_of(layer), theirs.engine_of(layer), mixed_calls(ours.card)) < 1e-4


@needs_cuda
def test_many_threads_on_a_gpu_answer_what_one_would_to_the_last_bit(three: Model) -> None:
    assert three.engine.device == "CUDA"
    assert calls_wrong_in_threads(three.engine, mixed_calls(three.card)) == []


@needs_cuda
@pytest.mark.parametrize("method", ["gradcam", "scorecam", "finercam"])
def test_a_method_runs_on_a_gpu(method: str, three: Model) -> None:
    [call] = mixed_calls(three.card, 1)
    assert isinstance(three.engine, TorchEngine)

    assert np.isfinite(three.engine.maps(method, call.batch, call.selector)).all()
