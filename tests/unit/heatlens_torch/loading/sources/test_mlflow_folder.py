"""A folder of MLflow is taken as its program; its pickles are refused."""

from pathlib import Path

import pytest
import torch

from heatlens.errors import ModelFileError
from heatlens_torch.loading.described import describe
from heatlens_torch.loading.sources import registry
from tests.support.checkpoints import tiny

OPTIONS = {
    "classes": "a,b",
    "output": "softmax",
    "preprocess": "resize = [48, 48], mean = [0, 0, 0], std = [1, 1, 1]",
}


def saved(folder: Path, *, program: bool, flavor: str = "pytorch") -> Path:
    """Write what `mlflow.pytorch.save_model` writes; MLflow itself wants a tracking store."""
    (folder / "data").mkdir()
    (folder / "MLmodel").write_text(
        f"flavors:\n  {flavor}:\n    model_data: data\n  python_function:\n    data: data\n"
    )
    network = tiny().eval()
    if program:
        shapes = ({0: torch.export.Dim.AUTO},)
        exported = torch.export.export(network, (torch.zeros(2, 3, 48, 48),), dynamic_shapes=shapes)
        torch.export.save(exported, folder / "data" / "model.pt2")
    else:
        torch.save(network, folder / "data" / "model.pth")
    return folder


def test_a_program_is_taken(tmp_path: Path) -> None:
    found = describe(saved(tmp_path, program=True), OPTIONS)
    built = registry.build(found.spec.architecture, found.home, dict(found.spec))

    assert found.facts.places == {"weights": "data/model.pt2"}
    assert built.source["weights"] == "model.pt2"
    assert built.network(torch.zeros(3, 3, 48, 48)).shape == (3, 2)


def test_a_pickled_module_is_refused_with_the_line_that_saves_a_program(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"holds a whole pickled module, .*serialization_format='pt2'"):
        describe(saved(tmp_path, program=False), OPTIONS)


def test_another_flavor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"/MLmodel has no flavor pytorch: mlflow\.pytorch\.save_model"):
        describe(saved(tmp_path, program=False, flavor="sklearn"), OPTIONS)


def test_a_folder_without_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"/MLmodel: no such readable file$"):
        describe(f"mlflow:{tmp_path}", OPTIONS)
