"""Write an explanation as DICOM objects of the source's study; `highdicom` is imported with the first one."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from heatlens.errors import InvalidOption, Mistake, NoDicomObject, UnsupportedImage
from heatlens.input.dicom_signature import is_dicom
from heatlens.options import unknown_name
from heatlens.types import DICOM_KINDS, DicomKind, Include, Options

if TYPE_CHECKING:  # clients read kinds without the model
    from heatlens.dicom_out.origin import Origin
    from heatlens.results import DicomObject, Explanation

Kind = DicomKind
KINDS = DICOM_KINDS  # a report, the last, refers to the others
NOT_DICOM = (
    "DICOM objects are written for DICOM sources: this image is of another type, and has no patient and no study"
)
NOT_PNG = "a Secondary Capture shows the overlay pixel for pixel, which only png keeps"
NO_EXTRA = "DICOM objects need the extra dicom: pip install 'heatlens[dicom]'"


def read_kinds(text: str) -> tuple[Kind, ...]:
    """Read names of kinds, separated by commas; each counts once, in the order of `KINDS`.

    Raises:
        InvalidOption: There is no such kind, or none is named.
    """
    names = [name.strip() for name in text.split(",")]
    if wrong := [name for name in names if name not in KINDS]:
        raise InvalidOption(*(Mistake("dicom", str(unknown_name(name, KINDS)), "unknown_name") for name in wrong))
    return tuple(kind for kind in KINDS if kind in names)


def needed(kinds: tuple[Kind, ...]) -> frozenset[Include]:
    """Return what an explanation must include for these kinds."""
    return frozenset({"overlay"}) if "sc" in kinds else frozenset()


def check_format(options: Options) -> None:
    """Check that the objects that the options name can be written in their format.

    Raises:
        InvalidOption: `sc` shows the overlay, and the options ask for another format than PNG.
    """
    if "sc" in options.dicom and options.format != "png":
        raise InvalidOption(Mistake("format", NOT_PNG, "not_png", options.format))


def check_kinds(options: Options) -> None:
    """Check that the objects that the options name can be written, and import what writes them.

    Raises:
        InvalidOption: As `check_format`.
        UnsupportedImage: The extra `dicom` is not installed.
    """
    check_format(options)
    if options.dicom:
        _writer()


def check_source(source: bytes) -> None:
    """Check that an image is DICOM.

    Raises:
        NoDicomObject: It is not.
    """
    if not is_dicom(source):
        raise NoDicomObject(NOT_DICOM)


def write_objects(
    source: bytes, explanation: "Explanation", origin: "Origin", kinds: tuple[Kind, ...]
) -> "tuple[DicomObject, ...]":
    """Write the objects of each explained class: all kinds of the first class, then those of the next.

    Args:
        source: The DICOM file that was explained.
        explanation: Its explanation; for `sc` with the overlay, as PNG.
        origin: What explained it.
        kinds: `sc`, a Secondary Capture of the overlay with a legend; `seg`, a binary Segmentation of where the heat
            reaches `Options.threshold`; `heat`, a fractional one of the heat; `pm`, a Parametric Map of it; `sr`, a
            Structured Report of the prediction, which refers to those that are asked for with it.

    Returns:
        The objects. Of equal arguments they are equal, byte for byte.

    Raises:
        NoDicomObject: The source is not DICOM, or lacks an element that the object needs.
        UnsupportedImage: The extra `dicom` is not installed.
        UnreadableImage: The source is damaged.
        InvalidOption: `sc` is asked for, and the overlay is not a PNG.
    """
    check_source(source)
    written: tuple[DicomObject, ...] = _writer().write_all(source, explanation, origin, kinds)
    return written


def _writer() -> ModuleType:
    try:
        return import_module("heatlens.dicom_out.write")
    except ModuleNotFoundError as error:
        raise UnsupportedImage(NO_EXTRA) from error
