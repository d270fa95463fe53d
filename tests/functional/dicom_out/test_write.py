"""All kinds of objects together: one study, no private text, the same bytes whenever they are written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from heatlens.dicom_out import KINDS, Kind, write_objects
from heatlens.dicom_out.origin import Origin
from heatlens.errors import NoDicomObject
from heatlens.explainer import Explainer
from heatlens.types import Options
from tests.functional.dicom_out.test_secondary_capture import SOURCES
from tests.support.dicom import written
from tests.support.dicom_studies import PHANTOM, PRIVATE_TEXT, ct_slice, phantom, radiograph, study
from tests.support.dicom_tools import assert_one_study, assert_valid, parsed

PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
OPTIONAL = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ContentDate", "ContentTime", "AcquisitionDate", "ReferringPhysicianName", "SeriesNumber"),
    *("InstanceNumber", "Manufacturer", "PatientOrientation", "BodyPartExamined", "Laterality", "ImageType"),
    *("ViewPosition", "PatientComments", "ImageComments", "InstitutionName"),
)
WRITTEN: tuple[Kind, ...] = ("sc", "seg", "heat", "sr")


@pytest.mark.parametrize("source", SOURCES)
def test_objects_belong_to_the_study_of_their_source(
    explainer: Explainer, source: Callable[[], bytes], tmp_path: Path
) -> None:
    data = source()
    _, objects = explainer.explain_dicom(data, WRITTEN)

    original = parsed(data)
    assert_one_study([data, *(each.data for each in objects)], tmp_path)
    for each in map(parsed, (each.data for each in objects)):
        assert [each[keyword] for keyword in PATIENT_AND_STUDY] == [original[keyword] for keyword in PATIENT_AND_STUDY]
        assert each.SeriesInstanceUID != original.SeriesInstanceUID
        assert each.ContentDate == "20240102"
        assert each.ContentTime == "030500"


def test_a_source_with_nothing_but_its_uids_gives_valid_objects(explainer: Explainer, tmp_path: Path) -> None:
    bare = study(phantom())
    for keyword in OPTIONAL:
        del bare[keyword]

    _, objects = explainer.explain_dicom(written(bare), WRITTEN)

    for each in objects:
        assert_valid(each.data, tmp_path)


def test_no_text_is_copied_that_the_standard_does_not_require(explainer: Explainer) -> None:
    data = radiograph()
    assert PRIVATE_TEXT.encode() in data

    _, objects = explainer.explain_dicom(data, WRITTEN)

    assert not [each.kind for each in objects if PRIVATE_TEXT.encode() in each.data]
    assert not [each.kind for each in objects if b"Maker" in each.data]


def test_objects_that_are_written_again_are_the_same(explainer: Explainer) -> None:
    data = ct_slice()
    first, second = (explainer.explain_dicom(data, WRITTEN)[1] for _ in range(2))

    assert [each.data for each in first] == [each.data for each in second]


@pytest.mark.parametrize(
    "other", [{"colormap": "hot"}, {"threshold": 0.25}, {"target": "CLEAR"}, {"method": "layercam"}]
)
def test_other_options_write_other_objects(explainer: Explainer, other: dict[str, object]) -> None:
    first = explainer.explain_dicom(radiograph(), ["sc"])[1]
    second = explainer.explain_dicom(radiograph(), ["sc"], **other)[1]  # type: ignore[arg-type]

    assert first[0].sop_instance_uid != second[0].sop_instance_uid
    assert parsed(first[0].data).SeriesInstanceUID != parsed(second[0].data).SeriesInstanceUID


def test_two_images_of_a_series_write_one_series_of_results(explainer: Explainer) -> None:
    first, second = (
        parsed(explainer.explain_dicom(radiograph(number=number), ["seg"])[1][0].data) for number in (1, 2)
    )

    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)


@pytest.mark.parametrize("number", [-3, 0, 2**31 - 1])
def test_a_series_of_any_number_has_objects(explainer: Explainer, number: int, tmp_path: Path) -> None:
    for each in explainer.explain_dicom(radiograph(SeriesNumber=number), ["sc", "seg"])[1]:
        assert_valid(each.data, tmp_path)
        assert parsed(each.data).SeriesNumber > 0


def test_segments_of_a_slice_without_a_thickness_have_no_place(explainer: Explainer, tmp_path: Path) -> None:
    source = parsed(ct_slice())
    del source.SliceThickness

    [capture, regions, heat, heat_map, report] = explainer.explain_dicom(written(source), KINDS)[1]

    for each in (capture, regions, heat, heat_map, report):
        assert_valid(each.data, tmp_path)
    for each in (regions, heat):
        assert "PlanePositionSequence" not in parsed(each.data).PerFrameFunctionalGroupsSequence[0]
    [place] = parsed(heat_map.data).PerFrameFunctionalGroupsSequence[0].PlanePositionSequence
    assert place.ImagePositionPatient == source.ImagePositionPatient


def test_identifiers_are_uuids(explainer: Explainer) -> None:
    for each in explainer.explain_dicom(radiograph(), WRITTEN)[1]:
        made = parsed(each.data)
        for uid in (made.SOPInstanceUID, made.SeriesInstanceUID):
            assert uid.startswith("2.25.")
            assert uid.is_valid
            assert int(uid[5:]) < 2**128


@pytest.mark.parametrize(
    ("name", "characters"),
    [
        ("Müller^Jürgen", "ISO_IR 100"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
        ("Wang^XiaoDong=王^小东", "GB18030"),
        ("Wang^XiaoDong=王^小東", "ISO_IR 192"),
    ],
)
def test_names_in_any_letters_are_kept(
    explainer: Explainer, name: str, characters: str | list[str], tmp_path: Path
) -> None:
    source = radiograph(SpecificCharacterSet=characters, PatientName=name, TimezoneOffsetFromUTC="+0900")

    _, objects = explainer.explain_dicom(source, WRITTEN)

    assert_one_study([source, *(each.data for each in objects)], tmp_path)
    for each in objects:
        assert_valid(each.data, tmp_path)
        assert parsed(each.data).PatientName == name
        assert parsed(each.data).TimezoneOffsetFromUTC == "+0900"


def test_a_class_in_other_letters_than_the_source_is_written_in_those_of_all(explainer: Explainer) -> None:
    source = radiograph(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    explanation, _ = explainer.explain_dicom(source, ["seg"])
    explained = replace(explanation.explained[0], label="肺炎")
    origin = Origin("模型", "1", "0" * 64, "openvino", "float32", "gradcam", "features", Options())

    for each in write_objects(source, replace(explanation, explained=(explained,)), origin, ("seg",)):
        made = parsed(each.data)
        assert (made.SpecificCharacterSet, made.PatientName) == ("ISO_IR 192", "Müller^Jürgen")
        assert made.SegmentSequence[0].SegmentLabel == "肺炎"


def test_a_patient_that_breaks_a_rule_is_kept_as_it_is(explainer: Explainer) -> None:
    source = radiograph(PatientSex="U")
    source = source.replace(b"P-17", b"P\\17").replace(b"19610203", b"1961.2.3")
    original = parsed(source)

    _, objects = explainer.explain_dicom(source, WRITTEN)

    for each in map(parsed, (each.data for each in objects)):
        for keyword in ("PatientID", "PatientBirthDate", "PatientSex"):
            assert each[keyword].value == original[keyword].value


@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.6", "1.2.3.4"])
def test_a_source_of_a_retired_or_private_class_is_referred_to(explainer: Explainer, sop_class: str) -> None:
    source = radiograph(SOPClassUID=sop_class, Modality="US")

    for each in explainer.explain_dicom(source, WRITTEN)[1]:
        assert sop_class.encode() in each.data


@pytest.mark.provokes("input.dicom")
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_source_without_its_place_is_refused(explainer: Explainer, keyword: str) -> None:
    source = study(phantom())
    del source[keyword]

    with pytest.raises(NoDicomObject, match=f"the DICOM source has no valid {keyword}") as refused:
        explainer.explain_dicom(written(source), ["sc"])
    assert refused.value.code == "input.dicom"


def test_an_image_that_is_no_dicom_is_refused(explainer: Explainer) -> None:
    with pytest.raises(NoDicomObject, match="DICOM objects are written for DICOM sources"):
        explainer.explain_dicom(PHANTOM, ["sc"])
