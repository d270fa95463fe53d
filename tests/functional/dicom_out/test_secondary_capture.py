"""Secondary Captures: the overlay as it is drawn, with a legend below, in the study of the source."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from heatlens.dicom_out import write_objects
from heatlens.dicom_out.legend import with_legend
from heatlens.dicom_out.origin import Origin
from heatlens.errors import InvalidOption
from heatlens.explainer import Explainer
from heatlens.results import Explanation
from heatlens.types import Colormap, Familiarity, Options
from tests.support.dicom import Array, written
from tests.support.dicom_studies import ct_slice, digital_radiograph, radiograph, several_frames
from tests.support.dicom_tools import assert_valid, parsed, rendered

SOURCES = [radiograph, digital_radiograph, ct_slice, several_frames]


def overlay(explanation: Explanation) -> Array:
    with Image.open(io.BytesIO(explanation.png)) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("source", SOURCES)
def test_a_capture_is_valid_and_shows_the_overlay_as_drawn(
    explainer: Explainer, source: Callable[[], bytes], tmp_path: Path
) -> None:
    explanation, [written] = explainer.explain_dicom(source(), ["sc"])

    rows, columns = explanation.height, explanation.width
    assert_valid(written.data, tmp_path)
    assert np.array_equal(parsed(written.data).pixel_array[:rows, :columns], overlay(explanation))
    assert np.array_equal(rendered(written.data, tmp_path)[:rows, :columns], overlay(explanation))


def test_a_capture_says_that_text_is_burnt_in_and_what_it_was_derived_from(explainer: Explainer) -> None:
    source = several_frames()
    _, [written] = explainer.explain_dicom(source, ["sc"])
    capture, original = parsed(written.data), parsed(source)

    [reference] = capture.SourceImageSequence
    assert reference.ReferencedSOPClassUID == original.SOPClassUID
    assert reference.ReferencedSOPInstanceUID == original.SOPInstanceUID
    assert reference.ReferencedFrameNumber == 1
    assert capture.BurnedInAnnotation == "YES"
    assert capture.ImageType == ["DERIVED", "SECONDARY"]
    assert capture.DerivationCodeSequence[0].CodeValue == "130403"
    assert "class OPACITY" in capture.DerivationDescription
    assert "Not for diagnostic use" in capture.DerivationDescription


@pytest.fixture
def legends(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The lines of each legend that is drawn."""
    drawn: list[Sequence[str]] = []

    def noted(picture: Image.Image, lines: Sequence[str], colormap: Colormap) -> Image.Image:
        drawn.append(lines)
        return with_legend(picture, lines, colormap)

    monkeypatch.setattr("heatlens.dicom_out.secondary_capture.with_legend", noted)
    return drawn


def test_the_legend_names_class_map_and_model(explainer: Explainer, legends: list[Sequence[str]]) -> None:
    explanation, _ = explainer.explain_dicom(radiograph(), ["sc"], target="top-2")

    opacity, clear = explanation.explained
    facts = explainer.card.name, explainer.card.version, explainer.sha256[:12]
    after = ["{} {} ({})".format(*facts), "Not for diagnostic use"]
    found = f"gradcam at {explainer.card.layer().name}, map"
    predicted = f"OPACITY {explanation.prediction.probability:.4f}"
    assert legends == [
        [predicted, f"{found} {opacity.quality}", *after],
        [f"CLEAR {clear.probability:.4f} (predicted: {predicted})", f"{found} {clear.quality}", *after],
    ]


def test_the_legend_names_a_contrast_and_an_unfamiliar_image(
    explainer: Explainer, legends: list[Sequence[str]]
) -> None:
    source = radiograph()
    explanation, _ = explainer.explain_dicom(source, ["sc"], target="OPACITY", contrast="CLEAR")
    origin = Origin("model", "1", "0" * 64, "openvino", "float32", "gradcam", "features", Options())
    for is_unfamiliar in (False, True):
        changed = replace(explanation, familiarity=Familiarity(50, is_unfamiliar))
        write_objects(source, changed, origin, ("sc",))

    assert legends[0][0].startswith("OPACITY against CLEAR ")
    assert ["Unfamiliar: unlike the model's calibration images" in lines for lines in legends[1:]] == [False, True]


def test_a_capture_of_a_slice_lies_where_the_slice_does(explainer: Explainer) -> None:
    source = ct_slice(PixelSpacing=[0.8, 1.2], PositionReferenceIndicator="SN")
    original = parsed(source)
    capture = parsed(explainer.explain_dicom(source, ["sc"])[1][0].data)

    place = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    for keyword in (*place, "PositionReferenceIndicator"):
        assert capture[keyword] == original[keyword]


def test_a_capture_of_a_radiograph_keeps_the_shape_of_its_pixels(explainer: Explainer) -> None:
    spaced = parsed(explainer.explain_dicom(radiograph(ImagerPixelSpacing=[0.2, 0.3]), ["sc"])[1][0].data)
    shaped = parsed(explainer.explain_dicom(several_frames(PixelAspectRatio=[2, 3]), ["sc"])[1][0].data)

    assert spaced.NominalScannedPixelSpacing == [0.2, 0.3]
    assert shaped.PixelAspectRatio == [2, 3]


def one_sided(**tags: str) -> bytes:
    """Write a radiograph with these statements about part and side alone."""
    source = parsed(radiograph())
    del source.Laterality, source.BodyPartExamined
    for keyword, value in tags.items():
        setattr(source, keyword, value)
    return written(source)


@pytest.mark.parametrize(
    ("tags", "side", "side_of_image"),
    [
        ({"BodyPartExamined": "HAND"}, "", None),
        ({"BodyPartExamined": "HAND", "Laterality": ""}, "", None),
        ({"BodyPartExamined": "HAND", "Laterality": "L"}, "L", None),
        ({"BodyPartExamined": "HAND", "ImageLaterality": "R"}, None, "R"),
        ({"BodyPartExamined": "CHEST"}, None, None),
        ({"BodyPartExamined": "CHEST", "Laterality": "L"}, None, None),
        ({"BodyPartExamined": "CHEST", "ImageLaterality": "U"}, None, "U"),
        ({"BodyPartExamined": "SOME PART"}, "", None),
        ({}, "", None),
        ({"Laterality": "R"}, "R", None),
    ],
    ids=str,
)
def test_a_capture_says_the_side_where_the_part_may_be_one_of_two(
    explainer: Explainer, tags: dict[str, str], side: str | None, side_of_image: str | None, tmp_path: Path
) -> None:
    [made] = explainer.explain_dicom(one_sided(**tags), ["sc"])[1]

    assert_valid(made.data, tmp_path)
    capture = parsed(made.data)
    assert (capture.get("Laterality"), capture.get("ImageLaterality")) == (side, side_of_image)


def test_other_objects_of_a_paired_part_without_a_side_are_valid(explainer: Explainer, tmp_path: Path) -> None:
    source = parsed(ct_slice(BodyPartExamined="KNEE"))
    del source.Laterality

    for each in explainer.explain_dicom(written(source), ["seg", "heat", "pm", "sr"])[1]:
        assert_valid(each.data, tmp_path)


def test_a_capture_of_a_lossy_image_says_so(explainer: Explainer) -> None:
    source = radiograph(
        LossyImageCompression="01", LossyImageCompressionRatio=12, LossyImageCompressionMethod="ISO_10918_1"
    )
    capture = parsed(explainer.explain_dicom(source, ["sc"])[1][0].data)

    assert (capture.LossyImageCompression, capture.LossyImageCompressionRatio) == ("01", 12)


def test_each_class_has_a_capture_of_its_own(explainer: Explainer) -> None:
    explanation, written = explainer.explain_dicom(radiograph(InstanceNumber=4), ["sc"], target="top-2")

    captures = [parsed(each.data) for each in written]
    assert [each.label for each in written] == [each.label for each in explanation.explained] == ["OPACITY", "CLEAR"]
    assert len({capture.SOPInstanceUID for capture in captures}) == 2
    assert len({capture.SeriesInstanceUID for capture in captures}) == 1
    assert [capture.InstanceNumber for capture in captures] == [7, 8]


def test_a_format_that_loses_pixels_is_refused(explainer: Explainer) -> None:
    with pytest.raises(InvalidOption, match="format is jpeg: a Secondary Capture shows the overlay pixel for pixel"):
        explainer.explain_dicom(radiograph(), ["sc"], format="jpeg")
