"""Files and folders of other frameworks, in their real form, and what is said when they are compiled."""

import json
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from heatlens.errors import ModelError
from heatlens_torch.loading.described import describe
from heatlens_torch.loading.network import build_network
from tests.owners.training import Small

HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(88)
OPTIONS = {"architecture": "tests.owners.training:Small", "classes": "temple,flower", "output": "softmax"}


def keras_archive(folder: Path) -> str:
    with zipfile.ZipFile(folder / "model.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.8.0", "date_saved": "2025-01-01@00:00:00"}))
        archive.writestr("config.json", json.dumps({"module": "keras", "class_name": "Functional", "config": {}}))
        archive.writestr("model.weights.h5", HDF5)
    return "model.keras"


def keras_h5(folder: Path) -> str:
    (folder / "model.h5").write_bytes(HDF5)
    return "model.h5"


def saved_model(folder: Path) -> str:
    (folder / "model" / "variables").mkdir(parents=True)
    (folder / "model" / "saved_model.pb").write_bytes(b"\x08\x01\x12\x00")
    for name in ("variables.index", "variables.data-00000-of-00001"):
        (folder / "model" / "variables" / name).touch()
    return "model"


def tensorflow_lite(folder: Path) -> str:
    (folder / "model.tflite").write_bytes(b"\x20\0\0\0TFL3" + bytes(24))
    return "model.tflite"


def paddle(folder: Path) -> str:
    (folder / "inference").mkdir()
    for name in ("inference.pdmodel", "inference.pdiparams"):
        (folder / "inference" / name).touch()
    return "inference"


def paddle_3(folder: Path) -> str:
    (folder / "inference").mkdir()
    (folder / "inference" / "inference.json").write_text(json.dumps({"base_code": {"magic": "pir", "version": 1}}))
    (folder / "inference" / "inference.pdiparams").touch()
    return "inference"


def openvino_ir(folder: Path) -> str:
    import openvino

    converted = openvino.convert_model(Small().eval(), example_input=torch.zeros(1, 3, 96, 96))
    openvino.save_model(converted, folder / "model.xml")
    return "model.xml"


def fastai_learner(folder: Path) -> str:
    """`learn.export()`: the pickled Learner."""
    with patch.dict(sys.modules):
        torch.save(of_library("fastai.learner", "Learner", model=Small()), folder / "export.pkl")
    return "export.pkl"


def ultralytics_checkpoint(folder: Path) -> str:
    """What training a classifier writes: the pickled network among plain values."""
    with patch.dict(sys.modules):
        network = of_library("ultralytics.nn.tasks", "ClassificationModel", names={0: "temple", 1: "flower"})
        torch.save({"epoch": -1, "model": network, "ema": None, "version": "8.3.0"}, folder / "best.pt")
    return "best.pt"


def torchscript(folder: Path) -> str:
    torch.jit.save(torch.jit.script(Small().eval()), folder / "model.pt")
    return "model.pt"


def whole_pickle(folder: Path) -> str:
    torch.save(Small(), folder / "model.pth")
    return "model.pth"


def xrv_pickle(folder: Path) -> str:
    import torchxrayvision

    torch.save(torchxrayvision.models.DenseNet(block_config=(1, 1, 1, 1), num_classes=2), folder / "densenet.pt")
    return "densenet.pt"


def mlflow_pickle(folder: Path) -> str:
    import mlflow

    mlflow.pytorch.save_model(Small(), str(folder / "run"), serialization_format="pickle", pip_requirements=["torch"])
    return "run"


def mlflow_function(folder: Path) -> str:
    """A model of Python code, as for any library without a flavor of its own."""
    import mlflow.pyfunc

    class Predictor(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: object, model_input: list[str], params: object = None) -> list[str]:
            return model_input

    mlflow.pyfunc.save_model(str(folder / "run"), python_model=Predictor(), pip_requirements=["torch"])
    return "run"


FOREIGN: dict[str, Callable[[Path], str]] = {
    "Keras 3": keras_archive,
    "Keras, HDF5": keras_h5,
    "TensorFlow SavedModel": saved_model,
    "TensorFlow Lite": tensorflow_lite,
    "Paddle 2": paddle,
    "Paddle 3": paddle_3,
    "OpenVINO IR": openvino_ir,
    "fastai": fastai_learner,
    "ultralytics": ultralytics_checkpoint,
    "torchxrayvision, whole": xrv_pickle,
    "MLflow, pickled": mlflow_pickle,
    "MLflow, pyfunc": mlflow_function,
    "TorchScript": torchscript,
    "whole pickle": whole_pickle,
}


def refusal(what: str) -> str:
    """Compile what cannot be compiled, and return what is said.

    Raises:
        AssertionError: It was not refused.
    """
    options = OPTIONS | {"preprocess": "imagenet"}
    if not Path(what).is_file():
        del options["architecture"]
    try:
        described = describe(what, options)
        build_network(described.spec, described.home)
    except ModelError as error:
        return str(error)
    raise AssertionError(f"{what} was not refused")


def of_library(module: str, name: str, **fields: Any) -> nn.Module:  # noqa: ANN401 - of any pickle
    """Make an object that pickles as a class of a library that is not installed; its modules stay in `sys.modules`."""
    found = types.ModuleType(module)
    kind = type(name, (nn.Module,), {"__module__": module})
    setattr(found, name, kind)
    parts = module.split(".")
    for length in range(1, len(parts)):
        sys.modules.setdefault(".".join(parts[:length]), types.ModuleType(parts[0]))
    sys.modules[module] = found
    made: nn.Module = kind()
    made.__dict__.update(fields)
    return made
