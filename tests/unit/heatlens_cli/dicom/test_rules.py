"""The first rule that matches; results of any kind have none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom.uid as uids
import pytest

from heatlens_cli.dicom.facts import Facts
from heatlens_cli.dicom.rules import OWN_NAME, Rule, choose_rule

CHEST = Facts(
    modality="CR",
    body_part="CHEST",
    view_position="PA",
    sop_class=uids.ComputedRadiographyImageStorage,
    image_type=("ORIGINAL", "PRIMARY"),
    manufacturer="MAKER",
)


def rule(title: str = "rule", **conditions: Any) -> Rule:  # noqa: ANN401 - any condition
    return Rule(title, Path("model"), ("sc",), {}, **conditions)


def title_of(facts: Facts, *rules: Rule) -> str | None:
    chosen = choose_rule(rules, facts)
    return chosen.title if chosen else None


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ({}, True),
        ({"modality": ("CR",)}, True),
        ({"modality": ("DX", "CR")}, True),
        ({"modality": ("DX",)}, False),
        ({"body_part": ("CHEST",)}, True),
        ({"body_part": ("HAND",)}, False),
        ({"view_position": ("PA", "AP")}, True),
        ({"view_position": ("LL",)}, False),
        ({"sop_class": (uids.ComputedRadiographyImageStorage,)}, True),
        ({"sop_class": (uids.CTImageStorage,)}, False),
        ({"modality": ("CR",), "body_part": ("HAND",)}, False),
    ],
)
def test_all_conditions_must_hold(conditions: dict[str, Any], *, matches: bool) -> None:
    assert (title_of(CHEST, rule(**conditions)) == "rule") is matches


def test_an_instance_without_a_code_does_not_match_a_rule_that_asks_for_it() -> None:
    assert title_of(replace(CHEST, body_part=""), rule(body_part=("CHEST",))) is None


def test_the_first_rule_that_matches_wins() -> None:
    rules = rule("hand", body_part=("HAND",)), rule("chest", body_part=("CHEST",)), rule("all")

    assert title_of(CHEST, *rules) == "chest"
    assert title_of(replace(CHEST, body_part="SKULL"), *rules) == "all"
    assert title_of(CHEST) is None


@pytest.mark.parametrize(
    "image_type", [("DERIVED", "PRIMARY"), ("ORIGINAL", "SECONDARY"), ("DERIVED", "SECONDARY", "MPR"), ("DERIVED",)]
)
def test_a_derived_image_needs_a_rule_that_says_so(image_type: tuple[str, ...]) -> None:
    derived = replace(CHEST, image_type=image_type)

    assert title_of(derived, rule()) is None
    assert title_of(derived, rule("plain"), rule("derived", derived=True)) == "derived"


def test_an_image_without_a_type_is_explained() -> None:
    assert title_of(replace(CHEST, image_type=()), rule()) == "rule"


@pytest.mark.parametrize("own", [{"manufacturer": OWN_NAME}, {"model_name": OWN_NAME}])
def test_own_output_is_never_explained(own: dict[str, str]) -> None:
    assert title_of(replace(CHEST, **own), rule(derived=True)) is None  # type: ignore[arg-type]  # two texts


@pytest.mark.parametrize(
    "uid",
    [
        uids.SegmentationStorage,
        uids.ParametricMapStorage,
        uids.Comprehensive3DSRStorage,
        uids.BasicTextSRStorage,
        uids.KeyObjectSelectionDocumentStorage,
        uids.GrayscaleSoftcopyPresentationStateStorage,
        uids.EncapsulatedPDFStorage,
        uids.RawDataStorage,
        uids.RealWorldValueMappingStorage,
    ],
)
def test_results_of_any_maker_are_never_explained(uid: str) -> None:
    assert title_of(replace(CHEST, sop_class=uid), rule(derived=True)) is None


@pytest.mark.parametrize(
    "uid",
    [
        uids.CTImageStorage,
        uids.DigitalXRayImageStorageForPresentation,
        uids.SecondaryCaptureImageStorage,
        uids.UltrasoundImageStorage,
        uids.DigitalMammographyXRayImageStorageForPresentation,
        uids.EnhancedCTImageStorage,
        f"{uids.ParametricMapStorage}1",  # of a class to come, whose number begins as that of another
    ],
)
def test_images_are(uid: str) -> None:
    assert title_of(replace(CHEST, sop_class=uid), rule()) == "rule"


def test_the_own_name_is_that_of_the_objects() -> None:
    from heatlens.dicom_out.subject import MANUFACTURER

    assert MANUFACTURER.upper() == OWN_NAME
