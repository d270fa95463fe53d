from pathlib import Path
from typing import Any

import openvino as ov
import pytest

from heatlens.engines.memory_estimate import check_memory, estimate_bytes
from heatlens.engines.resources import Machine
from heatlens.errors import EngineError
from heatlens.model import load_model
from heatlens.settings import MIB
from heatlens.types import EngineName

# Files and resident memory after one image, MiB, as measured.
MEASURED: dict[str, tuple[EngineName, float, float]] = {
    "demo": ("auto", 1.6, 131),
    "mobilenet_v3_large": ("openvino", 20.9, 190),
    "resnet50": ("openvino", 97.4, 340),
    "resnet152": ("openvino", 229.4, 617),
    "demo in onnxruntime": ("onnxruntime", 1.6, 103),
    "resnet50 in onnxruntime": ("onnxruntime", 97.4, 330),
    "demo in torch": ("torch", 1.6, 771),
    "resnet50 in torch": ("torch", 97.7, 906),
}


@pytest.mark.parametrize("model", MEASURED)
def test_the_estimate_is_slightly_above_the_measurement(model: str) -> None:
    engine, files, resident = MEASURED[model]

    assert 0.99 < estimate_bytes(round(files * MIB), engine) / (resident * MIB) < 1.15


def test_the_error_names_needed_and_available_memory(tmp_path: Path) -> None:
    graph = tmp_path / "graph"
    graph.write_bytes(b"\0" * MIB)

    check_memory([graph, graph], estimate_bytes(2 * MIB))
    with pytest.raises(EngineError, match="needs about 148 MiB of memory and there are 128: give"):
        check_memory([graph, graph], 128 * MIB)
    with pytest.raises(EngineError):
        check_memory([graph, graph], estimate_bytes(2 * MIB) - 1)


def test_without_a_limit_nothing_is_checked() -> None:
    check_memory([], None)


def test_memory_is_checked_before_the_model_is_opened(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    compile_model = ov.Core.compile_model

    def noted(core: ov.Core, path: str, device: str, config: dict[str, Any]) -> ov.CompiledModel:
        asked.append(config)
        return compile_model(core, path, device, config)

    monkeypatch.setattr(ov.Core, "compile_model", noted)

    with pytest.raises(EngineError, match="there are 100"):
        load_model(tiny_folder, machine=Machine(100 * MIB))
    assert asked == []
    load_model(tiny_folder, machine=Machine(200 * MIB, processors=1.7))
    load_model(tiny_folder, machine=Machine(processors=1.7), threads=5)
    load_model(tiny_folder, machine=Machine())
    assert [config.get("INFERENCE_NUM_THREADS") for config in asked] == [2, 2, 5, 5, None, None]
