"""Recognize what an owner names by its content: as keys of a description, or as something that is refused."""

import zipfile
from pathlib import Path

from heatlens.errors import ModelFileError
from heatlens_torch.loading.foreign import refuse_foreign
from heatlens_torch.loading.sources.base import read_json
from heatlens_torch.loading.sources.registry import SOURCES, split


def recognize(what: str) -> dict[str, str]:
    """Return `architecture` or `weights` of a description for `scheme:reference`, a file or a folder.

    Raises:
        ModelFileError: It is of no kind that can be compiled; the message says how to make one that can.
    """
    if split(what):
        return {"architecture": what}
    path = Path(what)
    if path.exists():
        refuse_foreign(path)
    if path.is_dir():
        return {"architecture": f"{_folder(path)}:{what}"}
    if path.is_file():
        scheme = _file(path)
        return {"architecture": f"{scheme}:{what}"} if scheme else {"weights": what}
    raise ModelFileError(f"{what}: no such file or folder; it can also be {known()}")


def known() -> str:
    """List the schemes, for messages."""
    return ", ".join(f"{scheme}:… ({about})" for scheme, (_, _, about) in SOURCES.items())


def _folder(path: Path) -> str:
    if (path / "config.json").is_file():
        return "timm" if "pretrained_cfg" in read_json(path / "config.json") else "hf"
    raise ModelFileError(f"{path.name}: a folder of no known kind; it can be {known()}")


def _file(path: Path) -> str | None:
    """Return the scheme of a file, `None` for a checkpoint, which needs an architecture."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
        return "torch.export" if "archive_format" in names else None
    return None
