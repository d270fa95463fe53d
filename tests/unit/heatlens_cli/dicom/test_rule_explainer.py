"""A rule makes what the library makes with its options, and is refused if its model does not fit."""

from pathlib import Path

import pytest

from heatlens.errors import InvalidOption, UnreadableImage
from heatlens.explainer import Explainer
from heatlens.input.dicom.frame import NO_PIXELS
from heatlens.model import Model
from heatlens.settings import DEMO_MODEL, Limits
from heatlens_cli.dicom.rule_explainer import Models
from heatlens_cli.dicom.rules import Rule
from heatlens_cli.load import CannotLoad, load
from tests.support.dicom import written
from tests.support.dicom_studies import phantom, radiograph, study


def test_a_rule_writes_the_objects_that_the_library_writes() -> None:
    rule = Rule("rule 1", DEMO_MODEL, ("sc", "seg"), {"target": ["CLEAR"], "threshold": 0.25})
    with Explainer.load() as explainer:
        _, wanted = explainer.explain_dicom(radiograph(), ["sc", "seg"], target=["CLEAR"], threshold=0.25)

    assert Models().explainer_of(rule)(radiograph()) == wanted


def test_an_image_that_cannot_be_explained_raises_its_error() -> None:
    explain = Models().explainer_of(Rule("rule 1", DEMO_MODEL, ("sc",), {}))

    without = study(phantom())
    del without.PixelData
    with pytest.raises(UnreadableImage, match=NO_PIXELS):
        explain(written(without))


def test_a_model_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Path] = []

    def note(folder: Path) -> tuple[Model, Limits]:
        loads.append(folder)
        return load(folder)

    monkeypatch.setattr("heatlens_cli.dicom.rule_explainer.load", note)
    models = Models()
    models.explainer_of(Rule("rule 1", DEMO_MODEL, ("sc",), {}))
    models.explainer_of(Rule("rule 2", DEMO_MODEL, ("seg",), {}))

    assert loads == [DEMO_MODEL.resolve()]


def test_a_class_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidOption, match="LUNG"):
        Models().explainer_of(Rule("rule 1", DEMO_MODEL, ("sc",), {"target": "LUNG"}))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotLoad, match=str(tmp_path)):
        Models().explainer_of(Rule("rule 1", tmp_path, ("sc",), {}))
