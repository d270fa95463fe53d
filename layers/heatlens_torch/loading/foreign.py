"""Refuse files and folders of other frameworks, by their bytes, with the one command that makes a file to compile."""

import zipfile
from pathlib import Path

from heatlens.errors import ModelFileError

HDF5 = b"\x89HDF\r\n\x1a\n"
TFLITE = b"TFL3"  # from byte 4
SNIFFED_BYTES = 512
EXPORT = (
    "torch.export.save(torch.export.export(model.eval(), (torch.rand(2, 3, 224, 224),), "
    "dynamic_shapes=({0: torch.export.Dim.AUTO},)), 'model.pt2')"
)
SAVE_STATE = "where it was made, torch.save(model.state_dict(), 'weights.pt'), and name that file"
# By the package of a pickled object: the line that makes a file to compile.
PICKLED = {
    "ultralytics": "yolo export model={name} format=onnx, and compile the .onnx file",
    "fastai": f"where it was made, model = learn.model; {EXPORT}, and compile model.pt2",
    "torchxrayvision": "where it was made, torch.save({'state_dict': model.state_dict(), 'pathologies': "
    "model.pathologies}, 'xrv.pt'), and compile xrv:xrv.pt",
}
TENSORFLOW = "python -m tf2onnx.convert --{kind} {name} --output m.onnx"
PADDLE = "paddle2onnx --model_dir {name} --model_filename {program} --params_filename {parameters} --save_file m.onnx"
PADDLE_PARAMETERS = ".pdiparams"
PADDLE_PROGRAMS = (".pdmodel", ".json")  # of Paddle 2, and of Paddle 3
_IR = "OpenVINO's IR, which cannot be differentiated or converted back: compile the ONNX or PyTorch file it was made of"


def refuse_foreign(path: Path) -> None:
    """Raise if a file or folder is of a framework that is not PyTorch.

    Raises:
        ModelFileError: It is; the message says which, and how to make a file that can be compiled.
    """
    if path.is_dir():
        _refuse_folder(path)
        return
    with path.open("rb") as file:
        start = file.read(SNIFFED_BYTES)
    if start.startswith(HDF5) or _is_keras(path):
        raise _refusal(path, "a model of Keras", TENSORFLOW.replace("{kind}", "keras"))
    if start[4:8] == TFLITE:
        raise _refusal(path, "a model of TensorFlow Lite", TENSORFLOW.replace("{kind}", "tflite"))
    if path.with_suffix(PADDLE_PARAMETERS).is_file() and path.suffix in (PADDLE_PARAMETERS, *PADDLE_PROGRAMS):
        raise _paddle(path.with_suffix(PADDLE_PARAMETERS))
    if start.lstrip().startswith((b"<?xml", b"<net ")):
        raise ModelFileError(f"{path.name} is {_IR}")


def instead_of_pickle(origin: str, name: str) -> str:
    """Say what to do in place of a pickled object of the class `origin`, in the file `name`."""
    return PICKLED.get(origin.partition(".")[0], SAVE_STATE).replace("{name}", name)


def _refuse_folder(path: Path) -> None:
    if (path / "saved_model.pb").is_file():
        raise _refusal(path, "a SavedModel of TensorFlow", TENSORFLOW.replace("{kind}", "saved-model"))
    if parameters := next(path.glob(f"*{PADDLE_PARAMETERS}"), None):
        raise _paddle(parameters)
    if any(file.with_suffix(".bin").is_file() for file in path.glob("*.xml")):
        raise ModelFileError(f"{path.name} is {_IR}")


def _paddle(parameters: Path) -> ModelFileError:
    """Refuse a model of Paddle, with the names that its files have."""
    programs = [parameters.with_suffix(suffix) for suffix in PADDLE_PROGRAMS]
    program = next((file for file in programs if file.is_file()), programs[0])
    command = PADDLE.replace("{program}", program.name).replace("{parameters}", parameters.name)
    return _refusal(parameters.parent, "a model of Paddle", command)


def _refusal(path: Path, kind: str, command: str) -> ModelFileError:
    return ModelFileError(
        f"{path.name} is {kind}, which is not run: {command.replace('{name}', str(path))}, and compile m.onnx"
    )


def _is_keras(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "model.weights.h5" in archive.namelist()
