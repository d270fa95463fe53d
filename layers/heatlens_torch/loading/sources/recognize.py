"""Recognize what an owner names by its content: as keys of a description, or as something that is refused."""

import zipfile
from pathlib import Path
from typing import Any

from heatlens.errors import ModelFileError
from heatlens_torch.loading.foreign import refuse_foreign
from heatlens_torch.loading.sources.base import read_json
from heatlens_torch.loading.sources.registry import SOURCES, split

LIGHTNING = "lightning:"
ONNX = ".onnx"
# Of ONNX's protocol buffer: the version's field, and those of the producer, domain, version, text, graph and opsets.
VERSION_FIELD, LATEST, FIELDS = 0x08, 32, (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)
NAMES = ("classes", "class_names", "labels", "label_names")  # of hyper-parameters that hold the classes


def recognize(what: str) -> dict[str, Any]:
    """Return `architecture` or `weights` of a description for `scheme:reference`, a file or a folder.

    Of a Lightning checkpoint (`lightning:FILE`, or a `.ckpt` file) `arguments` and `classes` too, where its
    hyper-parameters have them.

    Raises:
        ModelFileError: It is of no kind that can be compiled; the message says how to make one that can.
    """
    if split(what):
        return {"architecture": what}
    path = Path(what.removeprefix(LIGHTNING))
    if path.is_file() and (what.startswith(LIGHTNING) or path.suffix == ".ckpt"):
        return _lightning(path)
    if path.exists():
        refuse_foreign(path)
    if path.is_dir():
        return {"architecture": f"{_folder(path)}:{what}"}
    if path.is_file():
        scheme = _file(path)
        return {"architecture": f"{scheme}:{what}"} if scheme else {"weights": what}
    raise ModelFileError(f"{what}: no such file or folder; it can also be {known()}")


def _lightning(path: Path) -> dict[str, Any]:
    from heatlens_torch.loading.checkpoints import read_checkpoint

    parameters = read_checkpoint(path).hyper_parameters
    found: dict[str, Any] = {"weights": str(path)}
    if parameters:
        found["arguments"] = "hyper_parameters"
    for key in NAMES:
        if isinstance(parameters.get(key), list):
            found["classes"] = parameters[key]
            break
    return found


def known() -> str:
    """List the schemes, for messages."""
    return ", ".join(f"{scheme}:… ({about})" for scheme, (_, _, about) in SOURCES.items())


def _folder(path: Path) -> str:
    if (path / "MLmodel").is_file():
        return "mlflow"
    if (path / "configs" / "metadata.json").is_file():
        return "monai"
    if (path / "config.json").is_file():
        return "timm" if "pretrained_cfg" in read_json(path / "config.json") else "hf"
    raise ModelFileError(f"{path.resolve().name}: a folder of no known kind; it can be {known()}")


def _file(path: Path) -> str | None:
    """Return the scheme of a file, `None` for a checkpoint, which needs an architecture."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
        return "torch.export" if "archive_format" in names else None
    return "onnx" if path.suffix == ONNX or _starts_as_onnx(path) else None


def _starts_as_onnx(path: Path) -> bool:
    """Tell whether a file begins with a version of ONNX's format and one of the fields after it."""
    with path.open("rb") as file:
        version, number, *following = file.read(3).ljust(3, b"\0")
    return version == VERSION_FIELD and 0 < number < LATEST and following[0] in FIELDS
