"""The engine that a setting means on this machine, and what is rejected before anything is loaded."""

import builtins
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heatlens.card import Agreement, Card, Graph, TorchWeights, read_card, write_card
from heatlens.engines.base import open_engines, tail_inputs
from heatlens.engines.openvino import OpenVinoEngine
from heatlens.errors import CardError, EngineError, SettingsError
from heatlens.model import load_by_settings, load_model
from heatlens.settings import Settings, read_settings
from heatlens.types import EngineName, Floats, Indices, Options, Precision
from tests.support.engines import graphs_of
from tests.support.paths import ROOT
from tests.support.tiny import write_tiny_model

AGREED = Agreement(
    images=1, engine="by construction", correlation=1, least_correlation=1, same_maximum=1, pointing=1, top1_kept=1
)


def agreed(folder: Path) -> tuple[Path, Card]:
    """A tiny model whose card has agreements, its trunk of 8 bits being the trunk itself."""
    write_tiny_model(folder)
    card, _ = read_card(folder)
    layer = card.layer()
    layer = layer.model_copy(update={"trunk_int8": layer.trunk, "agreements": {"bf16": AGREED, "int8": AGREED}})
    card = card.model_copy(update={"layers": (layer,)})
    write_card(card, folder)
    return folder, card


def without(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    """Let these be not installed."""
    real = builtins.__import__

    def importing(name: str, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 - passes through
        if name.partition(".")[0] in libraries:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **more)

    for module in list(sys.modules):
        if module.partition(".")[0] in libraries or module in (
            "heatlens.engines.onnx_runtime",
            "heatlens_torch.engine",
        ):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", importing)


def test_auto_is_openvino_without_a_gpu(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatlens.engines.base.cuda_devices", lambda: 0)

    engine = load_model(tiny_folder).engine

    assert (engine.name, engine.precision, engine.device) == ("openvino", "f32", "CPU")


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, open_layers: Callable[..., Any]) -> None:
    monkeypatch.setattr("heatlens.engines.base.cuda_devices", lambda: 1)
    monkeypatch.setattr("heatlens.engines.onnx_runtime.open_layers", open_layers)


def test_auto_is_onnx_runtime_if_it_runs_on_a_gpu(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGpu(OpenVinoEngine):
        device = "CUDA"

    card, _ = read_card(tiny_folder)
    opened = {"cells": OnGpu(tiny_folder, *graphs_of(tiny_folder))}
    on_a_gpu(monkeypatch, lambda *_, **__: opened)

    assert open_engines(tiny_folder, card) is opened
    assert open_engines(tiny_folder, card, engine="openvino")["cells"].device == "CPU"


def refuses(*_: object, **__: object) -> None:
    raise EngineError("ONNX Runtime cannot load trunk.onnx")


@pytest.mark.parametrize("fault", ["on the processor after all", "refused"])
def test_a_gpu_that_cannot_be_used_is_logged_and_ignored(
    fault: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    card, _ = read_card(tiny_folder)
    on_processor = {"cells": OpenVinoEngine(tiny_folder, *graphs_of(tiny_folder))}
    on_a_gpu(monkeypatch, refuses if fault == "refused" else lambda *_, **__: on_processor)

    with caplog.at_level(logging.WARNING, "heatlens.engines.base"):
        engine = open_engines(tiny_folder, card)["cells"]

    assert (engine.name, engine.device) == ("openvino", "CPU")
    assert "there is a GPU, but" in caplog.text


def test_without_onnx_runtime_gpus_are_not_counted(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatlens.engines.base.find_spec", lambda _: None)
    monkeypatch.setattr("heatlens.engines.base.cuda_devices", lambda: pytest.fail("the driver was loaded"))

    assert load_model(tiny_folder).engine.name == "openvino"


@pytest.mark.parametrize(("engine", "precision"), [("onnxruntime", "bf16"), ("torch", "int8")])
def test_rejects_a_precision_that_the_engine_lacks(engine: EngineName, precision: Precision, tmp_path: Path) -> None:
    folder, card = agreed(tmp_path)

    with pytest.raises(EngineError, match=f"{engine} does not run in {precision}: it has f32, "):
        open_engines(folder, card, engine=engine, precision=precision)


def test_rejects_a_precision_without_measured_agreement(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"tiny has no measured agreement for bf16 at 'cells': .* or use f32$"):
        load_model(tiny_folder, precision="bf16")
    with pytest.raises(CardError, match="'cells' has no trunk of 8 bits: compile the model again with --int8"):
        load_model(tiny_folder, precision="int8")

    folder, card = agreed(tmp_path)
    layer = card.layer().model_copy(update={"agreements": {}})
    write_card(card.model_copy(update={"layers": (layer,)}), folder)
    with pytest.raises(CardError, match=r"agreement for int8 .* with --int8"):
        load_model(folder, precision="int8")


def test_every_layer_needs_its_agreement(tmp_path: Path) -> None:
    folder, card = agreed(tmp_path)
    other = card.layer().model_copy(update={"name": "other", "agreements": {}})

    with pytest.raises(CardError, match="'other'"):
        open_engines(folder, card.model_copy(update={"layers": (*card.layers, other)}), precision="bf16")


def test_rejects_torch_without_stored_weights_before_importing_torch(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "torch", "heatlens_torch")

    with pytest.raises(CardError, match="no weights for PyTorch: compile it again with --with-torch"):
        load_model(tiny_folder, engine="torch")


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_a_missing_engine_library_names_its_extra(
    engine: EngineName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny_model(tmp_path)
    card, _ = read_card(folder)
    stored = TorchWeights(file=card.layer().trunk.file, sha256=card.layer().trunk.sha256, architecture="a:b")
    write_card(card.model_copy(update={"torch": stored}), folder)
    without(monkeypatch, engine)

    with pytest.raises(EngineError, match=rf"{engine} needs {engine}, .*: pip install 'heatlens\[{engine}\]'"):
        load_model(folder, engine=engine)


def test_verifies_only_the_files_that_the_engine_reads(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    card, _ = read_card(folder)
    gone = TorchWeights(file="weights.safetensors", sha256="0" * 64, architecture="a:b")
    write_card(card.model_copy(update={"torch": gone}), folder)

    load_model(folder)
    with pytest.raises(CardError, match=r"weights\.safetensors is missing"):
        load_model(folder, engine="torch")
    with pytest.raises(CardError, match=r"weights\.safetensors is missing"):
        read_card(folder)


def test_the_environment_chooses_engine_and_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = agreed(tmp_path)
    monkeypatch.setenv("HEATLENS_ENGINE", "onnxruntime")
    monkeypatch.setenv("HEATLENS_PRECISION", "int8")
    monkeypatch.setenv("HEATLENS_MODEL_DIR", str(folder))

    facts = load_by_settings(read_settings()).facts(Options())

    assert (facts["engine"], facts["precision"]) == ("onnxruntime", "int8")


@pytest.mark.parametrize(("variable", "value"), [("HEATLENS_ENGINE", "tensorrt"), ("HEATLENS_PRECISION", "fp16")])
def test_an_unknown_engine_or_precision_is_one_sentence(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=f"^{variable}: Input should be ") as caught:
        read_settings()
    assert "\n" not in str(caught.value)


def test_an_engine_that_fails_to_open_is_one_sentence(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a driver's\nsee the manual")

    monkeypatch.setattr("heatlens.engines.openvino.open_layers", breaks)

    with pytest.raises(EngineError, match=r"^the engine openvino cannot be made ready here$") as caught:
        load_model(tiny_folder)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    "message", ["CUDA out of memory\nsee the manual", "Check 'ptr' failed\nFailed to allocate 3 bytes"]
)
def test_a_start_without_enough_memory_says_so(
    tiny_folder: Path, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr("heatlens.engines.openvino.open_layers", breaks)

    with pytest.raises(EngineError, match=r"^the memory ran out while the model was loaded: give .*ulimit -v.* more"):
        load_model(tiny_folder)


def test_a_start_under_a_small_limit_of_address_space_says_memory(tiny_folder: Path) -> None:
    """The limit is what is mapped once the engine is imported, and little more."""
    program = f"""
import resource
import openvino
from pathlib import Path
from heatlens.engines.resources import Machine
from heatlens.errors import EngineError
from heatlens.model import load_model
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 30_000_000,) * 2)
try:
    load_model(Path({str(tiny_folder)!r}), machine=Machine())
except EngineError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True)

    assert result.stdout.startswith("the memory ran out while the model was loaded")


def test_loads_another_folder_than_the_configured_one(tiny_folder: Path) -> None:
    assert load_by_settings(Settings(), tiny_folder).card.name == "tiny"


CROSSING = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([[7], [8]], np.float32)]
SELECTOR, OWNERS = np.eye(3, dtype=np.float32), np.array([0, 1, 1])


def tail(*inputs: str, outputs: tuple[str, ...] = ("logits", "gradient")) -> Graph:
    return Graph(file="tail.onnx", sha256="0" * 64, inputs=("activation", "crossing.0", *inputs), outputs=outputs)


def equal(given: Sequence[Floats | Indices], *expected: Floats | Indices) -> bool:
    return all(np.array_equal(*pair) for pair in zip(given, expected, strict=True))


def test_a_tail_with_owners_gets_each_image_once() -> None:
    graph = tail("selector", "owners")

    assert equal(tail_inputs(graph, CROSSING, SELECTOR, OWNERS), *CROSSING, SELECTOR, OWNERS)
    assert equal(tail_inputs(graph, CROSSING, SELECTOR[:2], None), *CROSSING, SELECTOR[:2], np.array([0, 1]))


def test_a_tail_without_owners_gets_an_image_for_each_row() -> None:
    repeated = [value[[0, 1, 1]] for value in CROSSING]

    assert equal(tail_inputs(tail("selector"), CROSSING, SELECTOR, OWNERS), *repeated, SELECTOR)
    assert equal(tail_inputs(tail("selector"), CROSSING, SELECTOR[:2], None), *CROSSING, SELECTOR[:2])
    assert equal(tail_inputs(tail(outputs=("logits",)), CROSSING, SELECTOR, OWNERS), *repeated)
