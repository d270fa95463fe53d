"""Write the overlay with a legend as a Secondary Capture Image (PS3.3 A.8.1)."""

import io

import numpy as np
from highdicom.sc import SCImage
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from heatlens.dicom_out import NOT_PNG
from heatlens.dicom_out.codes import may_be_one_of_two
from heatlens.dicom_out.legend import with_legend
from heatlens.dicom_out.source import LOSSY, Source
from heatlens.dicom_out.subject import MANUFACTURER, NOT_DIAGNOSTIC, Subject
from heatlens.errors import InvalidOption, Mistake
from heatlens.render.encode import MEDIA_TYPES

_PLANE = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness")
_COPIED = ("Laterality", "ImageLaterality", "BodyPartExamined", *LOSSY)
_ANY_ORIENTATION = ("L", "P")  # `highdicom` wants one; the source's own takes its place
_DIGEST_LETTERS = 12


def write_secondary_capture(subject: Subject) -> Dataset:
    """Write the overlay, pixel for pixel, in the upper left of an RGB image, with a legend below it.

    Raises:
        InvalidOption: The explanation has no overlay, or not as PNG.
    """
    image = subject.source.image
    picture = with_legend(_overlay(subject), legend_lines(subject), subject.origin.options.colormap)
    written = SCImage(
        pixel_array=np.asarray(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=image.StudyInstanceUID,
        patient_orientation=_ANY_ORIENTATION,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **subject.instance_of("sc"),
        **subject.software,
    )
    written.ImageType = ["DERIVED", "SECONDARY"]
    written.ConversionType = "WSD"  # made on a workstation
    written.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    del written.DateOfSecondaryCapture, written.TimeOfSecondaryCapture
    written.BurnedInAnnotation = "YES"
    written.PatientOrientation = image.get("PatientOrientation")
    _add_spacing(written, subject.source)
    for keyword in _COPIED:
        if keyword in image:
            written[keyword] = image[keyword]
    _complete_side(written)
    for keyword, value in subject.derivation().items():
        setattr(written, keyword, value)
    return written


def _complete_side(written: Dataset) -> None:
    """Leave out the side of a single body part; of one that may be one of two it is required, and empty if unknown."""
    if not may_be_one_of_two(written.get("BodyPartExamined") or ""):
        written.pop("Laterality", None)
    elif not written.get("ImageLaterality") and "Laterality" not in written:
        written.Laterality = ""


def legend_lines(subject: Subject) -> list[str]:
    """Return the lines of the legend: class and probability, the map, the model, and what it is not for."""
    explained, origin, prediction = subject.explained, subject.origin, subject.explanation.prediction
    familiarity = subject.explanation.familiarity
    is_predicted = explained.label == prediction.label
    predicted = "" if is_predicted else f" (predicted: {prediction.label} {prediction.probability:.4f})"
    contrast = f" against {explained.contrast}" if explained.contrast else ""
    warning = ["Unfamiliar: unlike the model's calibration images"] if familiarity and familiarity.unfamiliar else []
    return [
        f"{explained.label}{contrast} {explained.probability:.4f}{predicted}",
        f"{origin.method}{subject.of_frame} at {origin.layer}, map {explained.quality}",
        *warning,
        f"{origin.model} {origin.version} ({origin.sha256[:_DIGEST_LETTERS]})",
        NOT_DIAGNOSTIC,
    ]


def _overlay(subject: Subject) -> Image.Image:
    overlay = subject.explained.overlay
    if overlay is None or overlay.media_type != MEDIA_TYPES["png"]:
        raise InvalidOption(Mistake("format", NOT_PNG, "not_png"))
    with Image.open(io.BytesIO(overlay.data)) as picture:
        return picture.convert("RGB")


def _add_spacing(written: Dataset, source: Source) -> None:
    """Copy the size of pixels: of the patient, else of the detector, else their aspect ratio alone."""
    image = source.image
    if source.has_plane:
        for keyword in _PLANE:
            setattr(written, keyword, image.get(keyword))
        written.PositionReferenceIndicator = image.get("PositionReferenceIndicator")
    if "PixelSpacing" in image:
        written.PixelSpacing = image.PixelSpacing
    elif "ImagerPixelSpacing" in image:
        written.NominalScannedPixelSpacing = image.ImagerPixelSpacing
    elif "PixelAspectRatio" in image:
        written.PixelAspectRatio = image.PixelAspectRatio
