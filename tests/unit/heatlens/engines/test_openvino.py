import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from heatlens.engines.openvino import OpenVinoEngine, has_bf16, open_layers
from heatlens.errors import EngineError
from heatlens.model import Model
from heatlens.settings import DEMO_MODEL
from tests.support.engines import (
    EngineCall,
    calls_wrong_in_threads,
    graphs_of,
    largest_difference,
    mixed_calls,
    run_call,
    run_tail,
)
from tests.support.tiny import BIAS, GRID, SIDE, WEIGHT, write_tiny_model


def images(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).random((count, 3, SIDE, SIDE), dtype=np.float32)


def test_trunk_and_tail_compute_what_the_graphs_say(tiny_model: Model) -> None:
    batch = images(2)

    [activation] = tiny_model.engine.trunk(batch)
    logits, gradient = run_tail(tiny_model.engine, [activation], np.array([[1], [-1]], np.float32))

    cells = batch.mean(axis=1).reshape(2, GRID, 4, GRID, 4).mean(axis=(2, 4))
    assert activation[:, 0] == pytest.approx(cells, abs=1e-6)
    assert logits[:, 0] == pytest.approx(WEIGHT * cells.mean(axis=(1, 2)) + BIAS, abs=1e-5)
    assert gradient[0].ravel() == pytest.approx(WEIGHT / GRID**2)
    assert gradient[1].ravel() == pytest.approx(-WEIGHT / GRID**2)


@pytest.mark.parametrize("model", ["tiny_model", "demo_model"])
def test_results_are_bit_identical_in_every_batch(model: str, request: pytest.FixtureRequest) -> None:
    engine, shape = (loaded := request.getfixturevalue(model)).engine, loaded.card.preprocess.shape
    batch = np.random.default_rng(1).random((5, 3, *shape), dtype=np.float32)

    [together] = engine.trunk(batch)

    for index in range(5):
        assert np.array_equal(engine.trunk(batch[index : index + 1])[0][0], together[index])


def test_rejects_a_graph_that_would_not_run_in_float32(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    compile_model = ov.Core.compile_model

    def in_bfloat16(core: ov.Core, path: str, device: str, config: dict[str, Any]) -> ov.CompiledModel:
        asked.append(config)
        return compile_model(core, path, device, config | {"INFERENCE_PRECISION_HINT": "bf16"})

    graphs = graphs_of(tiny_folder)
    monkeypatch.setattr(ov.Core, "compile_model", in_bfloat16)
    if not has_bf16():  # there OpenVINO ignores the hint and reports float32
        monkeypatch.setattr(ov.CompiledModel, "get_property", lambda *_: ov.Type.bf16)

    with pytest.raises(EngineError, match="not in f32"):
        OpenVinoEngine(tiny_folder, *graphs)
    assert asked[0]["INFERENCE_PRECISION_HINT"] == "f32"


needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this processor has no bfloat16")


@needs_bf16
def test_bfloat16_rounds_and_float32_does_not(demo_model: Model) -> None:
    engine = OpenVinoEngine(DEMO_MODEL, *graphs_of(DEMO_MODEL), precision="bf16")

    assert engine.precision == "bf16"
    batch = mixed_calls(demo_model.card, 1)[0].batch
    [rounded], [exact] = engine.trunk(batch), demo_model.engine.trunk(batch)
    assert 1e-4 < np.abs(rounded - exact).max() / np.abs(exact).max() < 2e-2


def test_a_processor_without_bfloat16_runs_in_float32_and_logs_it(
    tiny_folder: Path, tiny_model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("heatlens.engines.openvino.has_bf16", lambda: False)

    with caplog.at_level(logging.WARNING, "heatlens.engines.openvino"):
        [engine] = open_layers(tiny_folder, tiny_model.card, precision="bf16", threads=0).values()

    assert engine.precision == "f32"
    assert len(caplog.records) == 1
    assert "no bf16: f32 instead" in caplog.text
    assert largest_difference(engine, tiny_model.engine, mixed_calls(tiny_model.card)) == 0


def test_rejects_a_graph_that_would_not_run_in_bfloat16(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_model = ov.Core.compile_model

    def in_float32(core: ov.Core, path: str, device: str, config: dict[str, Any]) -> ov.CompiledModel:
        return compile_model(core, path, device, config | {"INFERENCE_PRECISION_HINT": "f32"})

    graphs = graphs_of(tiny_folder)
    monkeypatch.setattr("heatlens.engines.openvino.has_bf16", lambda: True)
    monkeypatch.setattr(ov.Core, "compile_model", in_float32)

    with pytest.raises(EngineError, match="not in bf16"):
        OpenVinoEngine(tiny_folder, *graphs, precision="bf16")


def test_rejects_a_graph_with_other_tensors_than_its_record(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    trunk, tail = graphs_of(folder)
    renamed = trunk.model_copy(update={"inputs": ("picture",)})

    with pytest.raises(EngineError, match=r"its card says .*: compile the model again$"):
        OpenVinoEngine(folder, renamed, tail)


@pytest.mark.provokes("model.engine")
def test_rejects_a_file_that_is_not_a_graph(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    graphs = graphs_of(folder)
    (folder / "trunk.onnx").write_bytes(b"not a graph")

    with pytest.raises(EngineError, match=r"cannot compile trunk\.onnx"):
        OpenVinoEngine(folder, *graphs)


@pytest.mark.parametrize(("model", "most"), [("tiny_model", 3), ("demo_model", 1)])
def test_results_of_many_threads_are_bit_identical_to_those_of_one(
    model: str, most: int, request: pytest.FixtureRequest
) -> None:
    loaded: Model = request.getfixturevalue(model)

    assert calls_wrong_in_threads(loaded.engine, mixed_calls(loaded.card, most=most)) == []


def test_results_do_not_depend_on_earlier_calls(tiny_model: Model) -> None:
    first, *others = mixed_calls(tiny_model.card)
    alone = run_call(tiny_model.engine, first)
    for call in others:
        run_call(tiny_model.engine, call)

    assert all(np.array_equal(*pair) for pair in zip(run_call(tiny_model.engine, first), alone, strict=True))


def test_results_are_not_overwritten_by_later_calls(tiny_model: Model) -> None:
    first, second = mixed_calls(tiny_model.card, 2)
    held = run_call(tiny_model.engine, first)
    copies = [values.copy() for values in held]
    run_call(tiny_model.engine, second)

    assert all(np.array_equal(*pair) for pair in zip(held, copies, strict=True))


def test_there_are_as_many_requests_of_a_graph_as_calls_at_a_time(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ov.InferRequest] = []
    create = ov.CompiledModel.create_infer_request

    def counted(compiled: ov.CompiledModel) -> Any:  # noqa: ANN401 - OpenVINO is not typed
        made.append(create(compiled))
        return made[-1]

    monkeypatch.setattr(ov.CompiledModel, "create_infer_request", counted)
    engine, call = (
        OpenVinoEngine(tiny_folder, *graphs_of(tiny_folder)),
        EngineCall(images(1), np.zeros((1, 1), np.float32)),
    )
    held = threading.Barrier(3)

    def work() -> None:
        held.wait()
        for _ in range(20):
            run_call(engine, call)
        held.wait()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 2 <= len(made) <= 6
    before = len(made)
    later = threading.Thread(target=run_call, args=(engine, call))
    later.start()
    later.join()
    assert len(made) == before
