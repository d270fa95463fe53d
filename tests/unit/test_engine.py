import threading
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from heatlens.card import read_card
from heatlens.errors import EngineError
from heatlens.model import Model, load_model
from heatlens.openvino_engine import OpenVinoEngine
from tests.tiny import BIAS, GRID, SIDE, WEIGHT, write_tiny_model


def images(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).random((count, 3, SIDE, SIDE), dtype=np.float32)


def test_trunk_and_tail_compute_what_the_graphs_say(tiny_model: Model) -> None:
    batch = images(2)

    [activation] = tiny_model.engine.trunk(batch)
    logits, gradient = tiny_model.engine.tail([activation], np.array([[1], [-1]], np.float32))

    cells = batch.mean(axis=1).reshape(2, GRID, 4, GRID, 4).mean(axis=(2, 4))
    assert activation[:, 0] == pytest.approx(cells, abs=1e-6)
    assert logits[:, 0] == pytest.approx(WEIGHT * cells.mean(axis=(1, 2)) + BIAS, abs=1e-5)
    assert gradient[0].ravel() == pytest.approx(WEIGHT / GRID**2)
    assert gradient[1].ravel() == pytest.approx(-WEIGHT / GRID**2)


@pytest.mark.parametrize("model", ["tiny_model", "demo_model"])
def test_bits_do_not_change_with_the_batch(model: str, request: pytest.FixtureRequest) -> None:
    engine, shape = (loaded := request.getfixturevalue(model)).engine, loaded.card.preprocess.shape
    batch = np.random.default_rng(1).random((5, 3, *shape), dtype=np.float32)

    [together] = engine.trunk(batch)

    for index in range(5):
        assert np.array_equal(engine.trunk(batch[index : index + 1])[0][0], together[index])


def test_float32_is_asked_for_and_seen(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    compile_model = ov.Core.compile_model

    def in_bfloat16(core: ov.Core, path: str, device: str, config: dict[str, Any]) -> ov.CompiledModel:
        asked.append(config)
        return compile_model(core, path, device, config | {"INFERENCE_PRECISION_HINT": "bf16"})

    card, _ = read_card(tiny_folder)
    monkeypatch.setattr(ov.Core, "compile_model", in_bfloat16)

    with pytest.raises(EngineError, match="not in f32"):
        OpenVinoEngine(tiny_folder, card)
    assert asked[0]["INFERENCE_PRECISION_HINT"] == "f32"


def test_a_graph_with_other_tensors_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    card, _ = read_card(folder)
    layer = card.layer()
    other = layer.model_copy(update={"trunk": layer.trunk.model_copy(update={"inputs": ("picture",)})})
    renamed = card.model_copy(update={"layers": (other,)})

    with pytest.raises(EngineError, match="its card says"):
        OpenVinoEngine(folder, renamed)


def test_a_graph_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    card, _ = read_card(folder)
    (folder / "trunk.onnx").write_bytes(b"not a graph")

    with pytest.raises(EngineError, match=r"cannot compile trunk\.onnx"):
        OpenVinoEngine(folder, card)


def test_many_threads_see_their_own_answers(tiny_folder: Path) -> None:
    model = load_model(tiny_folder)
    batches = [images(1) * scale for scale in np.linspace(0.1, 1, 8, dtype=np.float32)]
    alone = [model.engine.trunk(batch)[0] for batch in batches]
    wrong: list[int] = []

    def work(index: int) -> None:
        wrong.extend(
            index for _ in range(50) if not np.array_equal(model.engine.trunk(batches[index])[0], alone[index])
        )

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
