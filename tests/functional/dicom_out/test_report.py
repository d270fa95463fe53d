"""Structured Reports: the prediction, its probability, the algorithm, and references to the other objects."""

from collections.abc import Iterator
from pathlib import Path

import highdicom
import pytest
from pydicom.dataset import Dataset

from heatlens.dicom_out import Kind
from heatlens.explainer import Explainer
from tests.functional.dicom_out.test_secondary_capture import SOURCES
from tests.support.dicom_studies import ct_slice, radiograph, several_frames
from tests.support.dicom_tools import assert_one_study, assert_valid, parsed


def content(item: Dataset) -> Iterator[Dataset]:
    for each in item.get("ContentSequence", ()):
        yield each
        yield from content(each)


def values(report: Dataset, meaning: str) -> list[object]:
    """Return the values of all content items of a name."""
    found: list[object] = []
    for item in content(report):
        if "ConceptNameCodeSequence" not in item or item.ConceptNameCodeSequence[0].CodeMeaning != meaning:
            continue
        if item.ValueType == "NUM":
            found.append(float(item.MeasuredValueSequence[0].NumericValue))
        elif item.ValueType == "CODE":
            found.append(item.ConceptCodeSequence[0].CodeMeaning)
        elif item.ValueType == "IMAGE":
            found.append(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        else:
            found.append(item.get("TextValue") or item.get("UID"))
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_a_report_is_valid_and_names_the_prediction(explainer: Explainer, source: object, tmp_path: Path) -> None:
    assert callable(source)
    data = source()
    explanation, [segment, report] = explainer.explain_dicom(data, ["seg", "sr"])

    assert_valid(report.data, tmp_path)
    assert_one_study([data, segment.data, report.data], tmp_path)
    (tmp_path / "report.dcm").write_bytes(report.data)
    read = highdicom.sr.srread(tmp_path / "report.dcm")
    assert read.content.get_volumetric_roi_measurement_groups()[0].finding_type.meaning == "OPACITY"  # type: ignore[attr-defined]
    assert values(read, "Finding") == ["OPACITY"]
    assert values(read, "Probability") == [pytest.approx(explanation.prediction.probability, abs=1e-6)]
    assert values(read, "Quality of the map") == ["Map ok"]
    assert values(read, "Algorithm Name") == [explainer.card.name]
    assert values(read, "Algorithm Version") == [explainer.card.version]
    assert values(read, "Referenced Segment") == [segment.sop_instance_uid]
    assert values(read, "Source Image for Segmentation") == [parsed(data).SOPInstanceUID]


def test_a_report_of_another_class_names_the_prediction_first(explainer: Explainer) -> None:
    explanation, [report] = explainer.explain_dicom(radiograph(), ["sr"], target="CLEAR")

    read = parsed(report.data)
    [clear] = explanation.explained
    assert values(read, "Finding") == ["OPACITY", "CLEAR"]
    assert values(read, "Probability") == pytest.approx(
        [explanation.prediction.probability, clear.probability], abs=1e-6
    )


def test_a_report_lists_the_objects_that_are_written_with_it(explainer: Explainer) -> None:
    source = several_frames()
    _, [*others, report] = explainer.explain_dicom(source, ["sc", "seg", "heat", "sr"])

    made = parsed(report.data)
    listed = {
        (instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID)
        for sequence in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in made.get(sequence, ())
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    original = parsed(source)
    assert listed == {
        (original.SOPClassUID, original.SOPInstanceUID),
        *((each.sop_class_uid, each.sop_instance_uid) for each in others),
    }


EXPLAINS = ("130401", "DCM", "Visual explanation")


def pictures(item: Dataset) -> list[tuple[str, str]]:
    """Return class and identifier of the images that explain the finding."""
    return [
        (each.ReferencedSOPSequence[0].ReferencedSOPClassUID, each.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for each in item.ContentSequence
        if each.ValueType == "IMAGE"
        and (code := each.ConceptNameCodeSequence[0])
        and (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == EXPLAINS
    ]


def groups_of(report: Dataset) -> list[Dataset]:
    return [
        item
        for item in content(report)
        if item.ValueType == "CONTAINER" and item.ConceptNameCodeSequence[0].CodeMeaning == "Measurement Group"
    ]


@pytest.mark.parametrize("kinds", [["sc", "sr"], ["sc", "pm", "sr"], ["sc", "seg", "heat", "pm", "sr"]], ids=str)
def test_images_that_are_no_segment_explain_the_finding(
    explainer: Explainer, kinds: list[Kind], tmp_path: Path
) -> None:
    _, [*others, report] = explainer.explain_dicom(ct_slice(), kinds)

    assert_valid(report.data, tmp_path)
    (tmp_path / "report.dcm").write_bytes(report.data)
    read = highdicom.sr.srread(tmp_path / "report.dcm")
    assert isinstance(read, highdicom.sr.Comprehensive3DSR)
    found = read.content.get_image_measurement_groups() + read.content.get_volumetric_roi_measurement_groups()  # type: ignore[attr-defined]
    assert [group.finding_type.meaning for group in found] == ["OPACITY"]
    [group] = groups_of(parsed(report.data))
    referred = [each for each in others if each.kind != "seg"]
    assert pictures(group) == [(each.sop_class_uid, each.sop_instance_uid) for each in referred]


def test_images_explain_the_class_that_they_show(explainer: Explainer) -> None:
    _, [capture, report] = explainer.explain_dicom(radiograph(), ["sc", "sr"], target="CLEAR")

    predicted, clear = groups_of(parsed(report.data))
    assert pictures(predicted) == []
    assert pictures(clear) == [(capture.sop_class_uid, capture.sop_instance_uid)]


def test_the_library_has_the_modality_of_the_source(explainer: Explainer) -> None:
    reports = [parsed(explainer.explain_dicom(source, ["sr"])[1][0].data) for source in (ct_slice(), radiograph())]

    assert [values(report, "Modality") for report in reports] == [["Computed Tomography"], ["Computed Radiography"]]


def test_a_report_with_other_references_is_another_report(explainer: Explainer) -> None:
    alone = explainer.explain_dicom(radiograph(), ["sr"])[1][-1]
    with_segment = explainer.explain_dicom(radiograph(), ["seg", "sr"])[1][-1]

    assert alone.sop_instance_uid != with_segment.sop_instance_uid
