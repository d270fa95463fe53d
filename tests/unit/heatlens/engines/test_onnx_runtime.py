import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from heatlens.engines.onnx_runtime import CPU, CUDA, OnnxRuntimeEngine, open_layers
from heatlens.engines.resources import Machine, cuda_devices
from heatlens.errors import EngineError
from heatlens.model import Model, load_model
from heatlens.settings import DEMO_MODEL
from tests.support.engines import (
    EngineCall,
    calls_wrong_in_threads,
    graphs_of,
    largest_difference,
    mixed_calls,
    run_call,
)
from tests.support.tiny import SIDE, write_tiny_model

needs_cuda = pytest.mark.skipif(
    not (cuda_devices() and CUDA in ort.get_available_providers()),
    reason="there is no GPU of NVIDIA's here, or ONNX Runtime was not built for one",
)


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> Model:
    return load_model(tiny_folder, engine="onnxruntime")


@pytest.fixture(scope="module")
def demo() -> Model:
    return load_model(DEMO_MODEL, engine="onnxruntime")


@pytest.mark.parametrize("model", ["tiny", "demo"])
def test_it_computes_what_openvino_does(model: str, request: pytest.FixtureRequest) -> None:
    loaded: Model = request.getfixturevalue(model)
    openvino: Model = request.getfixturevalue(f"{model}_model")

    assert loaded.engine.name == "onnxruntime"
    assert largest_difference(loaded.engine, openvino.engine, mixed_calls(loaded.card)) < 1e-4


@pytest.mark.parametrize(("model", "most"), [("tiny", 3), ("demo", 1)])
def test_results_of_many_threads_are_bit_identical_to_those_of_one(
    model: str, most: int, request: pytest.FixtureRequest
) -> None:
    loaded: Model = request.getfixturevalue(model)

    assert calls_wrong_in_threads(loaded.engine, mixed_calls(loaded.card, most=most)) == []


@pytest.mark.parametrize("model", ["tiny", "demo"])
def test_results_are_bit_identical_in_every_batch(model: str, request: pytest.FixtureRequest) -> None:
    loaded: Model = request.getfixturevalue(model)
    batch = np.random.default_rng(1).random((5, 3, *loaded.card.preprocess.shape), dtype=np.float32)
    selector = np.zeros((5, loaded.card.logits), np.float32)

    together = run_call(loaded.engine, EngineCall(batch, selector))

    for row in range(5):
        alone = run_call(loaded.engine, EngineCall(batch[row : row + 1], selector[:1]))
        assert all(np.array_equal(one[0], many[row]) for one, many in zip(alone, together, strict=True))


def test_results_do_not_depend_on_earlier_calls(tiny: Model) -> None:
    first, *others = mixed_calls(tiny.card)
    alone = run_call(tiny.engine, first)
    for call in others:
        run_call(tiny.engine, call)

    assert all(np.array_equal(*pair) for pair in zip(run_call(tiny.engine, first), alone, strict=True))


def test_what_crosses_the_cut_never_returns_from_the_host(demo: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    [call] = mixed_calls(demo.card, most=1)[:1]
    uploaded: list[str] = []
    downloads: list[int] = []
    bind, download = ort.IOBinding.bind_cpu_input, ort.OrtValue.numpy

    def uploading(binding: Any, name: str, array: Any) -> None:  # noqa: ANN401 - not typed
        uploaded.append(name)
        bind(binding, name, array)

    def downloading(value: Any) -> Any:  # noqa: ANN401 - not typed
        downloads.append(1)
        return download(value)

    monkeypatch.setattr(ort.IOBinding, "bind_cpu_input", uploading)
    monkeypatch.setattr(ort.OrtValue, "numpy", downloading)

    crossing = demo.engine.trunk(call.batch)
    beside = len(graphs_of(DEMO_MODEL)[1].inputs) - len(crossing)  # the selector, and owners where the graph has them
    assert (uploaded, len(downloads)) == ([graphs_of(DEMO_MODEL)[0].inputs[0]], len(crossing))
    demo.engine.tail([value[0:16] for value in crossing], call.selector)
    assert (len(uploaded), len(downloads)) == (1 + beside, len(crossing) + 2), "logits and gradient come back"
    demo.engine.tail([value[:, :] for value in crossing], call.selector)
    assert len(uploaded) == 1 + 2 * beside + len(crossing), "other arrays are copied to the device"


def asked_of_sessions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ort.SessionOptions, list[Any]]]:
    """The options and providers of every session from here on."""
    asked: list[tuple[ort.SessionOptions, list[Any]]] = []
    real = ort.InferenceSession

    def noted(path: str, options: ort.SessionOptions, providers: list[Any]) -> Any:  # noqa: ANN401 - not typed
        asked.append((options, providers))
        return real(path, options, providers=[CPU])

    monkeypatch.setattr(ort, "InferenceSession", noted)
    return asked


def test_threads_follow_the_share_of_processors(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_of_sessions(monkeypatch)

    for machine, threads in ((Machine(processors=1.7), 0), (Machine(processors=1.7), 5), (Machine(), 0)):
        load_model(tiny_folder, engine="onnxruntime", machine=machine, threads=threads)

    assert [options.intra_op_num_threads for options, _ in asked] == [2, 2, 5, 5, 0, 0]


def test_a_gpu_session_disables_tf32(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_of_sessions(monkeypatch)

    engine = OnnxRuntimeEngine(tiny_folder, *graphs_of(tiny_folder), cuda=True)

    assert engine.device == "CPU", "these sessions run on the processor, whatever they were asked"
    for options, providers in asked:
        assert options.use_deterministic_compute
        assert [providers[0][0], providers[1]] == [CUDA, CPU]
        assert providers[0][1]["use_tf32"] == "0"


def test_falls_back_to_the_processor_if_the_gpu_fails(
    tiny_folder: Path, tiny_model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = ort.InferenceSession

    def failing(path: str, options: ort.SessionOptions, providers: list[Any]) -> Any:  # noqa: ANN401 - not typed
        if providers != [CPU]:
            raise RuntimeError("libcudnn.so.9 is missing")
        return real(path, options, providers=providers)

    monkeypatch.setattr(ort, "InferenceSession", failing)
    monkeypatch.setattr("heatlens.engines.onnx_runtime._find_cuda", lambda: True)

    with caplog.at_level(logging.WARNING, "heatlens.engines.onnx_runtime"):
        [engine] = open_layers(tiny_folder, tiny_model.card, precision="f32", threads=0).values()

    assert engine.device == "CPU"
    assert largest_difference(engine, tiny_model.engine, mixed_calls(tiny_model.card)) < 1e-4
    assert "cannot use the GPU" in caplog.text


def test_rejects_a_graph_with_other_tensors_than_its_record(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    trunk, tail = graphs_of(folder)
    swapped = tail.model_copy(update={"outputs": ("gradient", "logits")})

    with pytest.raises(EngineError, match=r"tail\.onnx has tensors .* its card says"):
        OnnxRuntimeEngine(folder, trunk, swapped)


def test_rejects_a_file_that_is_not_a_graph(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    graphs = graphs_of(folder)
    (folder / "trunk.onnx").write_bytes(b"not a graph")

    with pytest.raises(EngineError, match=r"cannot load trunk\.onnx"):
        OnnxRuntimeEngine(folder, *graphs)


def test_rejects_images_that_are_not_float32(tiny: Model) -> None:
    with pytest.raises(Exception, match="float"):
        tiny.engine.trunk(np.zeros((1, 3, SIDE, SIDE), np.float64))


@needs_cuda
@pytest.mark.parametrize("model", ["tiny", "demo"])
def test_a_gpu_computes_what_openvino_does(model: str, request: pytest.FixtureRequest) -> None:
    openvino: Model = request.getfixturevalue(f"{model}_model")
    folder = request.getfixturevalue("tiny_folder") if model == "tiny" else DEMO_MODEL
    [engine] = open_layers(folder, openvino.card, precision="f32", threads=0).values()

    assert engine.device == "CUDA"
    assert largest_difference(engine, openvino.engine, mixed_calls(openvino.card)) < 1e-4
    assert calls_wrong_in_threads(engine, mixed_calls(openvino.card)) == []


@needs_cuda
def test_auto_uses_the_gpu(tiny_folder: Path) -> None:
    engine = load_model(tiny_folder).engine

    assert (engine.name, engine.device) == ("onnxruntime", "CUDA")
