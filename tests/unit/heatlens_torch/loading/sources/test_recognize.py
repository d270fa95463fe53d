"""A path is recognized by its content."""

from pathlib import Path

import pytest
import torch

from heatlens.errors import ModelFileError
from heatlens_torch.loading.sources.recognize import recognize
from tests.support.checkpoints import LIGHTNING, tiny


def test_an_exported_program_is_recognized_under_any_name(tmp_path: Path) -> None:
    program = torch.export.export(tiny().eval(), (torch.zeros(2, 3, 8, 8),))
    torch.export.save(program, tmp_path / "model.pt2")
    (tmp_path / "model.pt2").rename(tmp_path / "model.bin")

    assert recognize(str(tmp_path / "model.bin")) == {"architecture": f"torch.export:{tmp_path / 'model.bin'}"}


def test_a_state_dict_is_weights(tmp_path: Path) -> None:
    torch.save(tiny().state_dict(), tmp_path / "a")

    assert recognize(str(tmp_path / "a")) == {"weights": str(tmp_path / "a")}


def test_an_unknown_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="a folder of no known kind; it can be "):
        recognize(str(tmp_path))


@pytest.mark.parametrize(("name", "prefix"), [("epoch=3.ckpt", ""), ("best", "lightning:")])
def test_a_lightning_checkpoint_brings_its_hyper_parameters(tmp_path: Path, name: str, prefix: str) -> None:
    path = tmp_path / name
    hyper_parameters = {"width": 8, "class_names": ["cat", "dog"]}
    torch.save(LIGHTNING | {"state_dict": tiny().state_dict(), "hyper_parameters": hyper_parameters}, path)

    assert recognize(f"{prefix}{path}") == {
        "weights": str(path),
        "arguments": "hyper_parameters",
        "classes": ["cat", "dog"],
    }
