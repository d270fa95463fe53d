"""The images of `make bench`: the synthetic radiograph in several sizes and formats."""

from pathlib import Path

import numpy as np
from PIL import Image

from heatlens_cli.measure import sample_image
from tests.support.dicom import dicom

SIDE = 1024
SIDES_OF_JPEG = (256, 512, 1024, 2048)
DEPTH_BITS = 12


def write_images(folder: Path) -> dict[str, Path]:
    """Write each image, and return the files by the names that the tables show."""
    with Image.open(sample_image()) as opened:
        gray = opened.convert("L")
    images = {f"JPEG {side}²": folder / f"{side}.jpg" for side in SIDES_OF_JPEG}
    for side, path in zip(SIDES_OF_JPEG, images.values(), strict=True):
        gray.resize((side, side), Image.Resampling.LANCZOS).convert("RGB").save(path, quality=90)
    picture = gray.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    deep = np.asarray(picture, np.uint16) << (DEPTH_BITS - 8)
    images |= {name: folder / file for name, file in {"PNG 8 bit": "8.png", "PNG 16 bit": "16.png"}.items()}
    picture.convert("RGB").save(images["PNG 8 bit"])
    Image.fromarray(deep).save(images["PNG 16 bit"])
    images["DICOM 12 bit"] = folder / "12.dcm"
    images["DICOM 12 bit"].write_bytes(dicom(deep, bits=DEPTH_BITS))
    return images
