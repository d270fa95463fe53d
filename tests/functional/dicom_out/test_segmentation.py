"""Segmentations: the regions and the heat as they are drawn, where they lie in the source."""

from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pytest
from highdicom.spatial import PixelToReferenceTransformer

from heatlens.explain.absolute_scale import scaled_heat
from heatlens.explainer import Explainer
from heatlens.render.color import levels
from heatlens.results import Explanation
from heatlens.types import WHOLE
from tests.functional.dicom_out.test_secondary_capture import SOURCES
from tests.support.dicom import Array
from tests.support.dicom_studies import ct_slice, phantom, radiograph, several_frames
from tests.support.dicom_tools import assert_valid, parsed, rendered

ROWS_RIGHT, COLUMNS_DOWN = (1, 0, 0), (0, 1, 0)


def drawn(explanation: Explanation) -> Array:
    heat = scaled_heat(explanation.signed_map, explanation.explained[0].full_heat)
    size = explanation.width, explanation.height
    return levels(heat, size, explanation.box, explanation.part or WHOLE)(0, size[1])


def read(data: bytes, path: Path) -> highdicom.seg.Segmentation:
    path.write_bytes(data)
    return highdicom.seg.segread(path)


@pytest.mark.parametrize("source", SOURCES)
def test_segments_are_valid_and_have_the_pixels_of_the_heat(
    explainer: Explainer, source: Callable[[], bytes], tmp_path: Path
) -> None:
    explanation, [regions, heat] = explainer.explain_dicom(source(), ["seg", "heat"], threshold=0.3)

    levels_drawn = drawn(explanation)
    for written in (regions, heat):
        assert_valid(written.data, tmp_path)
        assert read(written.data, tmp_path / "read.dcm").number_of_segments == 1
    assert np.array_equal(parsed(heat.data).pixel_array, levels_drawn)
    assert np.array_equal(parsed(regions.data).pixel_array, levels_drawn >= round(0.3 * 255 + 0.5))
    assert 0 < parsed(regions.data).pixel_array.sum() < levels_drawn.size / 4
    assert np.array_equal(rendered(heat.data, tmp_path), levels_drawn)


def test_a_segment_names_the_model_and_the_class(explainer: Explainer, tmp_path: Path) -> None:
    _, [regions, heat] = explainer.explain_dicom(radiograph(), ["seg", "heat"])

    for written in (regions, heat):
        [segment] = parsed(written.data).SegmentSequence
        [algorithm] = segment.SegmentationAlgorithmIdentificationSequence
        assert (segment.SegmentLabel, segment.SegmentAlgorithmType) == ("OPACITY", "AUTOMATIC")
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (explainer.card.name, explainer.card.version)
        assert explainer.sha256 in algorithm.AlgorithmParameters
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "130403"
    first, second = (parsed(written.data) for written in (regions, heat))
    assert first.SegmentSequence[0].TrackingUID == second.SegmentSequence[0].TrackingUID
    assert (first.SegmentationType, second.SegmentationType) == ("BINARY", "FRACTIONAL")
    assert (second.SegmentationFractionalType, second.MaximumFractionalValue) == ("PROBABILITY", 255)


def test_a_segment_refers_to_the_frame_that_was_explained(explainer: Explainer) -> None:
    source = several_frames()
    segments = parsed(explainer.explain_dicom(source, ["seg"])[1][0].data)

    [derivation] = segments.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence
    [reference] = derivation.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == parsed(source).SOPInstanceUID
    assert reference.ReferencedSOPClassUID == parsed(source).SOPClassUID
    assert reference.ReferencedFrameNumber == 1


def middle_in_patient(data: bytes) -> Array:
    """Return where the middle of the segment's pixels lies in the patient, in mm, by the segment's own geometry."""
    segments = parsed(data)
    shared, [frame] = segments.SharedFunctionalGroupsSequence[0], segments.PerFrameFunctionalGroupsSequence
    transform = PixelToReferenceTransformer(
        image_position=frame.PlanePositionSequence[0].ImagePositionPatient,
        image_orientation=shared.PlaneOrientationSequence[0].ImageOrientationPatient,
        pixel_spacing=shared.PixelMeasuresSequence[0].PixelSpacing,
    )
    rows, columns = np.nonzero(segments.pixel_array)
    middle: Array = transform(np.array([[round(columns.mean()), round(rows.mean())]]))[0]
    return middle


@pytest.mark.parametrize("flip", ["none", "left-right", "upside-down", "turned"])
def test_heat_lies_on_the_finding_however_the_slice_is_stored(explainer: Explainer, flip: str) -> None:
    """A slice is stored in four ways, of the same patient: the opacity has the same place in the patient in all."""
    pixels, far = phantom(), 1023 * 0.3
    stored, position, orientation = {
        "none": (pixels, [0, 0, 42], [*ROWS_RIGHT, *COLUMNS_DOWN]),
        "left-right": (pixels[:, ::-1], [far, 0, 42], [-1, 0, 0, *COLUMNS_DOWN]),
        "upside-down": (pixels[::-1], [0, far, 42], [*ROWS_RIGHT, 0, -1, 0]),
        "turned": (pixels[::-1, ::-1], [far, far, 42], [-1, 0, 0, 0, -1, 0]),
    }[flip]
    source = ct_slice(
        np.ascontiguousarray(stored),
        ImagePositionPatient=position,
        ImageOrientationPatient=orientation,
        PixelSpacing=[0.3, 0.3],
    )

    _, [written] = explainer.explain_dicom(source, ["seg"], target="OPACITY", threshold=0.6)

    assert parsed(written.data).FrameOfReferenceUID == parsed(source).FrameOfReferenceUID
    # The opacity is at 333, 637 of 1,024 pixels; the map has 20 cells a side.
    assert np.abs(middle_in_patient(written.data) - [333 * 0.3, 637 * 0.3, 42]).max() < 0.3 * 1024 / 20


@pytest.mark.parametrize("orientation", [[0, 1, 0, 1, 0, 0], [0, 0, -1, 0.6, 0.8, 0]])
def test_segments_have_the_plane_of_a_slice_in_any_direction(explainer: Explainer, orientation: list[float]) -> None:
    source = ct_slice(ImageOrientationPatient=orientation, ImagePositionPatient=[-12.5, 30, 7])

    segments = parsed(explainer.explain_dicom(source, ["heat"])[1][0].data)

    [place] = segments.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence
    [plane] = segments.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    assert (place.ImagePositionPatient, plane.ImageOrientationPatient) == ([-12.5, 30, 7], orientation)


def test_segments_of_pixels_that_are_no_squares_have_their_spacing(explainer: Explainer) -> None:
    source = ct_slice(phantom((1024, 512)), PixelSpacing=[0.6, 0.3])

    segments = parsed(explainer.explain_dicom(source, ["seg"])[1][0].data)

    [measures] = segments.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert (segments.Rows, segments.Columns, measures.PixelSpacing) == (512, 1024, [0.6, 0.3])
    assert measures.SliceThickness == 2.5
