"""Write all objects of an explanation, and make them the same whenever they are written."""

import io
from collections.abc import Callable, Iterator

from pydicom.dataset import Dataset
from pydicom.uid import UID

from heatlens.dicom_out import Kind
from heatlens.dicom_out.origin import Origin
from heatlens.dicom_out.parametric_map import write_parametric_map
from heatlens.dicom_out.report import write_report
from heatlens.dicom_out.secondary_capture import write_secondary_capture
from heatlens.dicom_out.segmentation import write_heat, write_regions
from heatlens.dicom_out.source import UTF_8, Source, read_source
from heatlens.dicom_out.subject import Subject
from heatlens.errors import UnreadableImage
from heatlens.input.dicom.details import without_details
from heatlens.results import DicomObject, Explanation

_WRITERS: dict[Kind, Callable[[Subject], Dataset]] = {
    "sc": write_secondary_capture,
    "seg": write_regions,
    "heat": write_heat,
    "pm": write_parametric_map,
}
_MOMENTS = ("InstanceCreationDate", "InstanceCreationTime")  # of which the next writing would have others
_FAILED = "the DICOM objects cannot be written: the source has values that no rule of the standard allows"


def write_all(
    source: bytes, explanation: Explanation, origin: Origin, kinds: tuple[Kind, ...]
) -> tuple[DicomObject, ...]:
    """Write the objects of each class, as `write_objects` says."""
    return without_details(
        lambda: tuple(_written(source, explanation, origin, kinds)), lambda: UnreadableImage(_FAILED)
    )


def _written(source: bytes, explanation: Explanation, origin: Origin, kinds: tuple[Kind, ...]) -> Iterator[DicomObject]:
    read = read_source(source, max_pixels=explanation.width * explanation.height, frame=origin.options.frame or 1)
    for place, explained in enumerate(explanation.explained):
        subject = Subject(read, explanation, origin, place)
        others: list[Dataset] = []
        for kind in kinds:
            written = write_report(subject, others) if kind == "sr" else _WRITERS[kind](subject)
            _finish(written, subject)
            others.append(written)
            yield DicomObject(
                kind, place, explained.label, written.SOPClassUID, written.SOPInstanceUID, _encoded(written)
            )


def _finish(written: Dataset, subject: Subject) -> None:
    """Give an object its source's patient and study as they are, and dates and UIDs that do not change."""
    source = subject.source
    written.SpecificCharacterSet = source.characters if subject.is_ascii else UTF_8
    if not written.SpecificCharacterSet:
        del written.SpecificCharacterSet
    for element in source.kept:
        written.add(element)
    for keyword in (*_MOMENTS, "ContributingEquipmentSequence"):
        written.pop(keyword, None)
    written.ContentDate, written.ContentTime = source.date, source.time
    has_place = source.has_plane and "FrameOfReferenceUID" in written
    if not has_place and "Rows" in written:
        written.PatientOrientation = source.image.get("PatientOrientation")
    if "DimensionOrganizationSequence" in written:
        _fix_dimensions(written, subject.uid("dimensions"))
    _fix_references(written, source)


def _fix_dimensions(written: Dataset, uid: str) -> None:
    for sequence in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in written.get(sequence) or ():
            item.DimensionOrganizationUID = UID(uid)


def _fix_references(item: Dataset, source: Source) -> None:
    """Complete the references to the source: its own SOP class, and of an image the frame that was explained."""
    for element in item:
        if element.VR != "SQ":
            continue
        for nested in element.value:
            _fix_references(nested, source)
            if nested.get("ReferencedSOPInstanceUID") == source.image.SOPInstanceUID:
                nested.ReferencedSOPClassUID = source.sop_class
                is_of_image = element.keyword == "SourceImageSequence" or item.get("ValueType") == "IMAGE"
                if source.frame is not None and is_of_image:
                    nested.ReferencedFrameNumber = source.frame


def _encoded(written: Dataset) -> bytes:
    buffer = io.BytesIO()
    written.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
