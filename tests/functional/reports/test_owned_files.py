"""Files of owners: those of other frameworks are refused with the command that converts them, and the page is whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.owners.foreign import FOREIGN, refusal
from tests.owners.saved import OWNERS
from tests.owners.table import Row, on_half, render
from tests.support.paths import ROOT

PAGE = ROOT / "layers" / "OWNERS.md"
ROW = Row("hf", "transformers 5", ["hf:hf"], 0, 40.0, "done", "features", "3x3", 1e-7, 1e-7, [0.9, 0.9])

TF2ONNX = "python -m tf2onnx.convert --"
COMMANDS = {
    "Keras 3": f"{TF2ONNX}keras ",
    "Keras, HDF5": f"{TF2ONNX}keras ",
    "TensorFlow SavedModel": f"{TF2ONNX}saved-model ",
    "TensorFlow Lite": f"{TF2ONNX}tflite ",
    "Paddle 2": "--model_filename inference.pdmodel ",
    "Paddle 3": "--model_filename inference.json ",
    "OpenVINO IR": "compile the ONNX or PyTorch file it was made of",
    "fastai": "model = learn.model; torch.export.save(",
    "ultralytics": "yolo export model=best.pt format=onnx",
    "torchxrayvision, whole": "torch.save({'state_dict': model.state_dict(), 'pathologies': model.pathologies}",
    "MLflow, pickled": "serialization_format='pt2'",
    "MLflow, pyfunc": "has no flavor pytorch: mlflow.pytorch.save_model(",
    "TorchScript": "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt')",
    "whole pickle": "torch.save(model.state_dict(), 'weights.pt')",
}


def test_every_framework_has_its_command() -> None:
    assert COMMANDS.keys() == FOREIGN.keys()


@pytest.mark.filterwarnings("ignore")  # of the libraries that write the files
@pytest.mark.parametrize("framework", FOREIGN)
def test_a_file_of_another_framework_is_refused_with_the_command_that_converts_it(
    framework: str, tmp_path: Path
) -> None:
    said = refusal(str(tmp_path / FOREIGN[framework](tmp_path)))

    assert COMMANDS[framework] in said
    assert "Traceback" not in said
    assert "\n" not in said


def cells_of(text: str) -> list[list[str]]:
    return [row.strip("| ").split(" | ") for row in text.splitlines() if row.startswith("| ")][1:]


def test_the_first_sources_need_no_line_and_every_picture_shows_its_class() -> None:
    owners, _, trained = PAGE.read_text().partition("## Trained networks on photos")
    rows = cells_of(owners)

    assert [float(row[3]) for row in cells_of(trained)] == pytest.approx([float(row[4]) for row in cells_of(trained)])
    assert [row[0] for row in rows] == [owner.name for owner in OWNERS]
    for name, _, command, lines, given, *_, halves in rows:
        assert lines == "0" or name == "bin"
        assert given == "nothing" or f"--{given.partition(', ')[0]}" in command or "--set" in command
        assert min(int(share.rstrip("%")) for share in halves.split(" and ")) >= 60
    assert {row[0] for row in rows if row[4] == "nothing"} == {"hf", "hf ViT", "timm", "xrv"}


def test_a_map_without_heat_has_no_half() -> None:
    assert on_half(np.full((2, 3), -1, np.float32), right=True) is None
    assert on_half(np.array([[2, 4, 1]], np.float32), right=True) == pytest.approx(3 / 7)

    page = render([replace(ROW, halves=[0.75, None])], {})

    assert "| 75% and empty |" in page
