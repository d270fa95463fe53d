"""Identifiers: the same of the same explanation, others of what something else made."""

from dataclasses import replace
from typing import Any

import pytest

from heatlens.dicom_out.origin import Origin
from heatlens.model import Model
from heatlens.plan import make_plan
from heatlens.types import Options

ORIGIN = Origin("model", "1", "0" * 64, "openvino", "f32", "gradcam", "features", Options())


@pytest.mark.parametrize(
    "other",
    [
        {"sha256": "1" * 64},
        {"engine": "onnxruntime"},
        {"precision": "bf16"},
        {"method": "layercam"},
        {"layer": "head"},
        {"options": Options(threshold=0.25)},
    ],
)
def test_what_made_an_explanation_is_in_its_identifiers(other: dict[str, Any]) -> None:
    assert replace(ORIGIN, **other).uid("name") != ORIGIN.uid("name") != ORIGIN.uid("other")


def test_a_later_version_writes_objects_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ORIGIN.uid("name")
    monkeypatch.setattr("heatlens.dicom_out.origin.__version__", "99.0")

    assert ORIGIN.uid("name") != before


@pytest.mark.parametrize(
    "same",
    [
        Options(format="jpeg"),
        Options(include=frozenset({"map"})),
        Options(model="model"),
        Options(dicom=("sc", "seg")),
    ],
)
def test_options_that_change_no_object_are_not(same: Options) -> None:
    assert replace(ORIGIN, options=same).uid("name") == ORIGIN.uid("name")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Options(), Options(method="gradcam", layer="cells")),
        (Options(target=(1,)), Options(target=("BRIGHT",))),
        (Options(target=("BRIGHT",), contrast=0), Options(target=("BRIGHT",), contrast="DARK")),
    ],
)
def test_options_that_mean_the_same_make_the_same_identifiers(tiny_model: Model, one: Options, other: Options) -> None:
    first, second = (Origin.of(tiny_model, make_plan(tiny_model, each), each) for each in (one, other))

    assert (
        first.uid("name")
        == second.uid("name")
        != Origin.of(tiny_model, make_plan(tiny_model, Options()), Options(target=("DARK",))).uid("name")
    )
