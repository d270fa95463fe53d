"""Objects of one frame of several: its heat, its place in the patient, its number in every reference."""

import io
from pathlib import Path

import highdicom
import numpy as np
import pytest
from PIL import Image

from heatlens.dicom_out import Kind
from heatlens.errors import NoDicomObject, NoSuchFrame
from heatlens.explainer import Explainer
from tests.functional.cli.test_cli import heatlens
from tests.functional.dicom_out.test_report import content
from tests.support.dicom import written
from tests.support.dicom_studies import ct_slice, enhanced_ct, phantom, radiograph, several_frames
from tests.support.dicom_tools import assert_one_study, assert_valid, parsed

ALL: list[Kind] = ["sc", "seg", "heat", "pm", "sr"]


def test_objects_of_a_frame_are_valid_and_have_its_heat(explainer: Explainer, tmp_path: Path) -> None:
    source = enhanced_ct()
    explanation, objects = explainer.explain_dicom(source, ALL, frame=2)
    alone = explainer.explain(ct_slice(phantom(), RescaleSlope=2))

    for each in objects:
        assert_valid(each.data, tmp_path)
    assert_one_study([source, *(each.data for each in objects)], tmp_path)
    assert explanation.frame == 2
    assert np.array_equal(explanation.signed_map, alone.signed_map)
    by_kind = {each.kind: each.data for each in objects}
    assert np.array_equal(parsed(by_kind["pm"]).pixel_array, explanation.heat)
    with Image.open(io.BytesIO(alone.png)) as overlay:
        rows, columns = overlay.height, overlay.width
        assert np.array_equal(parsed(by_kind["sc"]).pixel_array[:rows, :columns], np.asarray(overlay))


@pytest.mark.parametrize("frame", [1, 2, 3])
def test_a_frame_lies_where_its_own_group_says(explainer: Explainer, frame: int, tmp_path: Path) -> None:
    place = [-100, -100, 42 + 3 * (frame - 1)]
    _, [capture, *others] = explainer.explain_dicom(enhanced_ct(), ["sc", "seg", "heat", "pm"], frame=frame)

    assert parsed(capture.data).ImagePositionPatient == place
    assert parsed(capture.data).ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    for each in others:
        made = parsed(each.data)
        [own] = made.PerFrameFunctionalGroupsSequence
        [measures] = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
        assert own.PlanePositionSequence[0].ImagePositionPatient == place
        assert (measures.PixelSpacing, measures.SliceThickness) == ([0.8, 0.8], 2.5)
    (tmp_path / "seg.dcm").write_bytes(others[0].data)
    geometry = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume_geometry()
    assert geometry is not None
    assert list(geometry.position) == place


def test_a_frames_own_plane_wins_over_that_of_all(explainer: Explainer) -> None:
    source = parsed(enhanced_ct())
    shared = source.SharedFunctionalGroupsSequence[0]
    shared.PlanePositionSequence = source.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence
    source.ImagePositionPatient = [1, 2, 3]

    [segments] = explainer.explain_dicom(written(source), ["seg"], frame=3)[1]

    [own] = parsed(segments.data).PerFrameFunctionalGroupsSequence
    assert own.PlanePositionSequence[0].ImagePositionPatient == [-100, -100, 48]


def test_the_position_of_the_first_frame_is_not_that_of_others(explainer: Explainer, tmp_path: Path) -> None:
    """A dose has one position beside its pixels, and offsets for the further frames."""
    source = parsed(enhanced_ct(ImagePositionPatient=[1, 2, 3]))
    for group in source.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
    data = written(source)

    [first] = explainer.explain_dicom(data, ["seg"])[1]
    [second] = explainer.explain_dicom(data, ["seg"], frame=2)[1]

    [own] = parsed(first.data).PerFrameFunctionalGroupsSequence
    assert own.PlanePositionSequence[0].ImagePositionPatient == [1, 2, 3]
    assert "PlanePositionSequence" not in parsed(second.data).PerFrameFunctionalGroupsSequence[0]
    assert_valid(second.data, tmp_path)
    with pytest.raises(NoDicomObject, match="a Parametric Map needs a place"):
        explainer.explain_dicom(data, ["pm"], frame=2)


@pytest.mark.parametrize("frame", [2, 3])
def test_every_reference_to_the_source_names_the_frame(explainer: Explainer, frame: int) -> None:
    _, [capture, segments, heat_map, report] = explainer.explain_dicom(
        enhanced_ct(), ["sc", "seg", "pm", "sr"], frame=frame
    )

    made = parsed(capture.data)
    assert made.SourceImageSequence[0].ReferencedFrameNumber == frame
    assert f"of frame {frame} at layer" in made.DerivationDescription
    for each in (segments, heat_map):
        [derivation] = parsed(each.data).PerFrameFunctionalGroupsSequence[0].DerivationImageSequence
        assert derivation.SourceImageSequence[0].ReferencedFrameNumber == frame
    source = parsed(enhanced_ct()).SOPInstanceUID
    references = [item.ReferencedSOPSequence[0] for item in content(parsed(report.data)) if item.ValueType == "IMAGE"]
    of_source = [each for each in references if each.ReferencedSOPInstanceUID == source]
    assert of_source
    assert {each.ReferencedFrameNumber for each in of_source} == {frame}


def test_each_frame_has_identifiers_of_its_own_in_one_series(explainer: Explainer) -> None:
    data = several_frames(InstanceNumber=4)
    first, again, second = (
        [parsed(each.data) for each in explainer.explain_dicom(data, ["seg"], frame=frame)[1]] for frame in (1, 1, 2)
    )

    assert [each.SOPInstanceUID for each in first] == [each.SOPInstanceUID for each in again]
    assert first[0].SOPInstanceUID != second[0].SOPInstanceUID
    assert first[0].SegmentSequence[0].TrackingUID != second[0].SegmentSequence[0].TrackingUID
    assert first[0].SeriesInstanceUID == second[0].SeriesInstanceUID
    assert (first[0].InstanceNumber, second[0].InstanceNumber) == (7, 8)


@pytest.mark.parametrize("source", [several_frames, radiograph])
def test_the_first_frame_is_the_same_whether_it_is_named(explainer: Explainer, source: object) -> None:
    assert callable(source)
    named, unnamed = (explainer.explain_dicom(source(), ["sc", "seg", "sr"], frame=frame)[1] for frame in (1, None))

    assert [each.data for each in named] == [each.data for each in unnamed]


def test_a_frame_that_is_not_there_is_refused(explainer: Explainer) -> None:
    with pytest.raises(NoSuchFrame, match="has 3 frames, and no frame 4"):
        explainer.explain_dicom(enhanced_ct(), ["sc"], frame=4)


def test_the_command_explains_a_frame(tmp_path: Path, explainer: Explainer) -> None:
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(several_frames())
    done = heatlens("explain", scan, "--frame", "2", "--dicom", "seg", "-o", tmp_path)

    assert done.returncode == 0, done.stderr
    [expected] = explainer.explain_dicom(several_frames(), ["seg"], frame=2)[1]
    assert (tmp_path / "scan.dcm.heatmap.seg.dcm").read_bytes() == expected.data
    classified = heatlens("predict", scan, "--frame", "2", "--json")
    assert '"frame": 2' in classified.stdout
    for command in ("explain", "predict"):
        refused = heatlens(command, scan, "--frame", "3")
        assert refused.returncode == 1
        assert "the DICOM file has 2 frames, and no frame 3" in refused.stderr
