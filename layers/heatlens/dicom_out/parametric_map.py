"""Write the heat as a Parametric Map of floats (PS3.3 A.75), and say which evidence its values stand for."""

from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset

from heatlens.dicom_out.codes import NO_UNITS, REGION_OF_BODY, code_item, explanation_code
from heatlens.dicom_out.subject import NOT_DIAGNOSTIC, Subject, clipped
from heatlens.errors import NoDicomObject

_NO_PLACE = (
    "a Parametric Map needs a place in the patient, and the DICOM source lacks FrameOfReferenceUID, PixelSpacing, "
    "ImagePositionPatient or ImageOrientationPatient, as most radiographs do: ask for heat instead"
)


def write_parametric_map(subject: Subject) -> Dataset:
    """Write the heat, 0..1 as drawn before it is rounded to levels; its real-world value is the evidence.

    The standard requires a frame of reference, and validators a plane in it. A place that was made up would be a claim
    about the patient.

    Raises:
        NoDicomObject: The source has no place in the patient.
    """
    if not subject.source.has_plane:
        raise NoDicomObject(_NO_PLACE)
    heat, full = subject.heat(), subject.full_heat
    mapping = RealWorldValueMapping(
        lut_label="EVIDENCE",
        lut_explanation=clipped(f"Evidence for {subject.explained.label}"),
        unit=NO_UNITS,
        value_range=(0.0, 1.0),
        slope=full,
        intercept=0.0,
        quantity_definition=explanation_code(subject.origin.method),
    )
    written = ParametricMap(
        source_images=[subject.source.image],
        pixel_array=heat,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label="HEAT",
        content_description=clipped(f"Relative evidence. {NOT_DIAGNOSTIC}"),
        derived_pixel_contrast="NONE",
        derivation=explanation_code(subject.origin.method),
        **subject.instance_of("pm"),
        **subject.software,
    )
    _add_anatomy(written)
    return written


def _add_anatomy(written: Dataset) -> None:
    """Add the group of the anatomy, which the standard requires: the body, as the model knows no part of it."""
    anatomy = Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [code_item(REGION_OF_BODY)]
    written.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
