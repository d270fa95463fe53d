"""Read an image file as the plain service does: Pillow, 16-bit gray from its minimum to its maximum, and pydicom."""

from typing import BinaryIO

import numpy as np
from PIL import Image

DICOM = b"DICM"


def read_image(file: BinaryIO) -> Image.Image:
    """Read an RGB image.

    Raises:
        UnidentifiedImageError: The file is no image.
    """
    start = file.read(132)
    file.seek(0)
    if start.endswith(DICOM):
        import pydicom
        from pydicom.pixels.processing import apply_rescale, apply_voi_lut

        dataset = pydicom.dcmread(file)
        return _from_minimum_to_maximum(apply_voi_lut(apply_rescale(dataset.pixel_array, dataset), dataset))
    image = Image.open(file)
    return _from_minimum_to_maximum(np.asarray(image)) if image.mode.startswith("I") else image.convert("RGB")


def _from_minimum_to_maximum(values: np.ndarray) -> Image.Image:
    values = values.astype(np.float32)
    scaled = (values - values.min()) / max(float(np.ptp(values)), 1.0)
    return Image.fromarray(np.uint8(np.rint(scaled * 255))).convert("RGB")
