"""`mlflow:FOLDER`: what MLflow's PyTorch flavor saved."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heatlens.errors import ModelFileError
from heatlens_torch.loading.sources import exported
from heatlens_torch.loading.sources.base import OWN, Facts

if TYPE_CHECKING:
    from heatlens_torch.loading.built_network import BuiltNetwork

MODEL_FILE = "MLmodel"
PROGRAM = "data/model.pt2"
PICKLE = "data/model.pth"
SAVE_PROGRAM = "mlflow.pytorch.save_model(model, 'saved', serialization_format='pt2', input_example=images)"
_PYTORCH = re.compile(r"^  pytorch:", re.MULTILINE)  # below flavors, as MLflow writes it


def facts(reference: str, home: Path, given: Mapping[str, Any]) -> Facts:  # `given` is of every source
    """Find the program; MLflow keeps no class names."""
    folder = home / reference
    _check_flavor(folder)
    if not (folder / PROGRAM).is_file():
        pickled = (folder / PICKLE).is_file()
        what = "a whole pickled module, which is code as well as weights" if pickled else "no program"
        raise ModelFileError(
            f"architecture: {folder.name} holds {what}: where it was made, {SAVE_PROGRAM} (or "
            "torch.save(model.state_dict(), 'weights.pt'), and name that file)"
        )
    found = Facts()
    found.add("weights", OWN, PROGRAM)
    return found


def build(reference: str, home: Path, given: Mapping[str, Any]) -> "BuiltNetwork":
    """Load the program as a `torch.export` file."""
    return exported.build(f"{reference}/{PROGRAM}", home, given)


def _check_flavor(folder: Path) -> None:
    try:
        text = (folder / MODEL_FILE).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelFileError(f"architecture: {folder.name}/{MODEL_FILE}: no such readable file") from error
    if not _PYTORCH.search(text):
        raise ModelFileError(f"architecture: {folder.name}/{MODEL_FILE} has no flavor pytorch: {SAVE_PROGRAM}")
