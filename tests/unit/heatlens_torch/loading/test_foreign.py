"""Files of other frameworks are refused by their bytes, with the command that makes a file to compile."""

import zipfile
from pathlib import Path

import pytest

from heatlens.errors import ModelFileError
from heatlens_torch.loading.foreign import instead_of_pickle, refuse_foreign


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"\x89HDF\r\n\x1a\n", r"a is a model of Keras.*tf2onnx\.convert --keras .*/a --output m\.onnx, and compile"),
        (b"\x1c\0\0\0TFL3", r"a is a model of TensorFlow Lite.*--tflite .*/a --output m\.onnx"),
        (b'<?xml version="1.0"?><net name="m" version="11">', r"^a is OpenVINO's IR, .*: compile the ONNX or PyTorch"),
    ],
)
def test_files_are_told_by_their_bytes(tmp_path: Path, start: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(start + bytes(100))

    with pytest.raises(ModelFileError, match=message):
        refuse_foreign(tmp_path / "a")


def test_an_archive_of_keras_is_told_by_its_members(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")

    with pytest.raises(ModelFileError, match=r"^a\.keras is a model of Keras"):
        refuse_foreign(tmp_path / "a.keras")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["saved_model.pb"], r"SavedModel of TensorFlow, .*--saved-model .* --output m\.onnx"),
        (
            ["net.pdmodel", "net.pdiparams"],
            r"a model of Paddle, .*--model_filename net\.pdmodel --params_filename net\.pdiparams --save_file m\.onnx",
        ),
        (["inference.json", "inference.pdiparams"], r"a model of Paddle, .*--model_filename inference\.json "),
        (["model.xml", "model.bin"], "is OpenVINO's IR"),
    ],
)
def test_folders_are_told_by_their_files(tmp_path: Path, files: list[str], message: str) -> None:
    for file in files:
        (tmp_path / file).touch()

    with pytest.raises(ModelFileError, match=message):
        refuse_foreign(tmp_path)


@pytest.mark.parametrize("named", ["net.pdmodel", "net.pdiparams"])
def test_a_file_of_paddle_is_refused_as_its_folder(tmp_path: Path, named: str) -> None:
    for name in ("net.pdmodel", "net.pdiparams"):
        (tmp_path / name).write_bytes(bytes(32))

    with pytest.raises(ModelFileError, match=r"a model of Paddle, .*paddle2onnx --model_dir .* --save_file m\.onnx"):
        refuse_foreign(tmp_path / named)


def test_other_files_and_folders_pass(tmp_path: Path) -> None:
    (tmp_path / "a.xml").touch()
    refuse_foreign(tmp_path)
    refuse_foreign(tmp_path / "a.xml")


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ("ultralytics.nn.tasks.ClassificationModel", "yolo export model=a.pt format=onnx"),
        ("fastai.learner.Learner", "model = learn.model; torch.export.save("),
        ("torchxrayvision.models.DenseNet", "torch.save({'state_dict': model.state_dict(), 'pathologies': "),
        ("mine.Network", "torch.save(model.state_dict(), 'weights.pt')"),
    ],
)
def test_a_pickle_has_the_command_of_its_library(origin: str, command: str) -> None:
    assert command in instead_of_pickle(origin, "a.pt")
