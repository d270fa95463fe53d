"""Facts of files and of Orthanc's tags are the same, whatever form the values have."""

import pytest

from heatlens.errors import HeatlensError
from heatlens_cli.dicom.facts import Facts, read_facts
from tests.support.dicom_studies import SERIES, STUDY, radiograph

FACTS = Facts(
    study=STUDY,
    series=SERIES,
    instance=f"{SERIES}.1",
    sop_class="1.2.840.10008.5.1.4.1.1.1",
    modality="CR",
    body_part="CHEST",
    view_position="PA",
    image_type=("ORIGINAL", "PRIMARY"),
    manufacturer="MAKER",
)
TAGS = {
    "StudyInstanceUID": STUDY,
    "SeriesInstanceUID": SERIES,
    "SOPInstanceUID": f"{SERIES}.1",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1\0",
    "Modality": "CR",
    "BodyPartExamined": "Chest ",
    "ViewPosition": "PA",
    "ImageType": "ORIGINAL\\PRIMARY",
    "Manufacturer": "Maker",
    "ManufacturerModelName": None,
    "PatientName": "Doe^Jane",
}


def test_a_file_and_the_tags_of_orthanc_have_the_same_facts() -> None:
    assert read_facts(radiograph()) == FACTS
    assert Facts.of_tags(TAGS) == FACTS


def test_what_is_missing_is_empty() -> None:
    assert Facts.of_tags({}) == Facts()
    assert Facts.of_tags({"Modality": {"nested": 1}, "ImageType": ["DERIVED", "SECONDARY"]}) == Facts(
        image_type=("DERIVED", "SECONDARY")
    )


def test_a_damaged_file_has_an_error_without_its_values() -> None:
    with pytest.raises(HeatlensError) as refused:
        read_facts(radiograph()[:-1000])

    assert "Doe" not in str(refused.value)
