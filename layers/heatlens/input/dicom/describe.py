"""Complete the description of a DICOM image's pixels where it is missing or wrong and only one reading is possible."""

from pydicom.dataset import Dataset

from heatlens.errors import UnreadableImage
from heatlens.input.dicom.numbers import Notes, add_note

GRAYSCALE = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_SAMPLES = dict.fromkeys((*GRAYSCALE, PALETTE), 1) | dict.fromkeys(COLORS, 3)
_SIZES = (1, 8, 16, 32, 64)  # in bits


def complete(dataset: Dataset, notes: Notes) -> None:
    """Add or correct color space, samples and bits per pixel in place.

    Args:
        dataset: Its pixel module's elements.
        notes: Receives a sentence for each assumption.

    Raises:
        UnreadableImage: More than one reading is possible; the sentence names the element.
    """
    _complete_color_space(dataset, notes)
    if "PixelData" in dataset:
        _complete_bits(dataset, notes)


def _complete_color_space(dataset: Dataset, notes: Notes) -> None:
    written = str(dataset.get("PhotometricInterpretation") or "").strip(" \0")
    name, samples = written.upper(), dataset.get("SamplesPerPixel")
    if not name and samples == 1:
        name = PALETTE if "RedPaletteColorLookupTableDescriptor" in dataset else "MONOCHROME2"
        add_note(notes, f"PhotometricInterpretation is missing: read as {name}.")
    elif not name:
        raise UnreadableImage("the DICOM file does not say its color space: it has no PhotometricInterpretation")
    elif name in COLORS and samples == 1:
        name = "MONOCHROME2"
        add_note(notes, "PhotometricInterpretation names colors, and there is one sample per pixel: read as grayscale.")
    elif name in _SAMPLES and name != written:
        add_note(notes, f"PhotometricInterpretation is not in capital letters: read as {name}.")
    if samples is None and name in _SAMPLES:
        dataset.SamplesPerPixel = _SAMPLES[name]
        add_note(notes, f"SamplesPerPixel is missing: read as {_SAMPLES[name]}.")
    elif samples != _SAMPLES.get(name, samples):
        raise UnreadableImage("the DICOM file contradicts itself: SamplesPerPixel is not that of its color space")
    dataset.PhotometricInterpretation = name


def _complete_bits(dataset: Dataset, notes: Notes) -> None:
    stored, high = dataset.get("BitsStored"), dataset.get("HighBit")
    if dataset.get("BitsAllocated") is None:
        if stored is None:
            raise UnreadableImage("the DICOM file does not say how many bits a value has: it has no BitsAllocated")
        dataset.BitsAllocated = next((size for size in _SIZES if size >= stored), stored)
        add_note(notes, f"BitsAllocated is missing: read as {dataset.BitsAllocated}.")
    if stored is None:
        dataset.BitsStored = dataset.BitsAllocated if high is None else high + 1
        add_note(notes, f"BitsStored is missing: read as {dataset.BitsStored}.")
    if not 1 <= dataset.BitsStored <= dataset.BitsAllocated:
        raise UnreadableImage("the DICOM file contradicts itself: BitsStored is not between 1 and BitsAllocated")
