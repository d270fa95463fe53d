"""Files of other frameworks in their real form: each is refused in a sentence with the command that converts it."""

from pathlib import Path

import pytest

from tests.owners.foreign import FOREIGN, refusal

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
