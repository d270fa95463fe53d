"""Parametric Maps: the heat as floats, and the evidence that they stand for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heatlens.dicom_out import write_objects
from heatlens.dicom_out.origin import Origin
from heatlens.errors import NoDicomObject
from heatlens.explainer import Explainer
from heatlens.types import Options
from tests.support.dicom import written
from tests.support.dicom_studies import ct_slice, digital_radiograph, phantom, radiograph, several_frames
from tests.support.dicom_tools import assert_one_study, assert_valid, parsed


def test_a_map_is_valid_and_has_the_heat(explainer: Explainer, tmp_path: Path) -> None:
    source = ct_slice()
    explanation, [object_written] = explainer.explain_dicom(source, ["pm"])

    assert_valid(object_written.data, tmp_path)
    assert_one_study([source, object_written.data], tmp_path)
    made = parsed(object_written.data)
    [mapping] = made.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert np.array_equal(made.pixel_array, explanation.heat)
    assert pytest.approx(explanation.signed_map.max()) == mapping.RealWorldValueSlope
    assert mapping.RealWorldValueIntercept == 0


def test_a_map_says_what_its_values_are(explainer: Explainer) -> None:
    made = parsed(explainer.explain_dicom(ct_slice(), ["pm"], method="eigencam")[1][0].data)

    [shared] = made.SharedFunctionalGroupsSequence
    [mapping] = shared.RealWorldValueMappingSequence
    [quantity] = mapping.QuantityDefinitionSequence
    assert (quantity.ConceptCodeSequence[0].CodeValue, mapping.MeasurementUnitsCodeSequence[0].CodeValue) == (
        "130402",
        "1",
    )
    assert mapping.LUTExplanation == "Evidence for OPACITY"
    assert made.ImageType[:2] == ["DERIVED", "PRIMARY"]


def test_a_map_without_evidence_keeps_its_unit(explainer: Explainer, tmp_path: Path) -> None:
    source = ct_slice()
    explanation, _ = explainer.explain_dicom(source, ["pm"])
    [explained] = explanation.explained
    blank = replace(explanation, explained=(replace(explained, signed_map=-np.abs(explained.signed_map)),))
    origin = Origin("model", "1", "0" * 64, "openvino", "float32", "gradcam", "features", Options())

    [made] = write_objects(source, blank, origin, ("pm",))

    assert_valid(made.data, tmp_path)
    [mapping] = parsed(made.data).SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert (mapping.RealWorldValueSlope, parsed(made.data).pixel_array.max()) == (1, 0)


def test_a_map_of_a_slice_lies_where_the_slice_does(explainer: Explainer) -> None:
    source = ct_slice(phantom((512, 1024)), PixelSpacing=[0.3, 0.6], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    original, made = parsed(source), parsed(explainer.explain_dicom(source, ["pm"])[1][0].data)

    [shared], [frame] = made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence
    assert made.FrameOfReferenceUID == original.FrameOfReferenceUID
    assert (made.Rows, made.Columns) == (1024, 512)
    assert frame.PlanePositionSequence[0].ImagePositionPatient == original.ImagePositionPatient
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == original.ImageOrientationPatient
    assert shared.PixelMeasuresSequence[0].PixelSpacing == original.PixelSpacing


@pytest.mark.parametrize("source", [radiograph, digital_radiograph, several_frames])
def test_a_map_of_an_image_without_a_place_is_refused(explainer: Explainer, source: Callable[[], bytes]) -> None:
    with pytest.raises(NoDicomObject, match="a Parametric Map needs a place in the patient"):
        explainer.explain_dicom(source(), ["pm"])


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "ImageOrientationPatient", "PixelSpacing"])
def test_a_slice_without_a_place_has_other_objects(explainer: Explainer, keyword: str, tmp_path: Path) -> None:
    source = parsed(ct_slice())
    del source[keyword]

    with pytest.raises(NoDicomObject, match="a Parametric Map needs a place in the patient"):
        explainer.explain_dicom(written(source), ["pm"])
    for each in explainer.explain_dicom(written(source), ["sc", "seg", "heat", "sr"])[1]:
        assert_valid(each.data, tmp_path)
