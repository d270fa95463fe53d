"""The heat lies on the finding, whatever way the image lies: phantoms as DICOM, through Orthanc and back."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage

from heatlens.settings import DEMO_MODEL
from heatlens.types import Options
from heatlens_torch.demo.phantoms import HELD_OUT_SEEDS, phantom
from tests.support.dicom import Array, written
from tests.support.dicom_studies import study
from tests.support.dicom_tools import parsed
from tests.support.dicom_watch import watch_file, watching
from tests.support.orthanc import running_orthanc
from tests.support.paths import ROOT

SIDE = 256
RULES = (
    f'[[rule]]\nmodel = "{DEMO_MODEL}"\nobjects = ["sc", "seg", "heat"]\ntarget = "OPACITY"\nmodality = ["CR", "OT"]\n'
)
JET = np.frombuffer((ROOT / "layers/heatlens/render/colormaps/jet.rgb").read_bytes(), "u1").reshape(256, 3)
ALPHA, LEVELS_OFF = Options().alpha, 3  # of 255: two roundings, divided by the image's weight
TIMES_HOTTER = 3  # in the finding than beside it
PLACE = ("PatientOrientation", "PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio", "Rows", "Columns")


@dataclass(frozen=True)
class Placed:
    """A phantom: its pixels, where the finding is in them, and the elements that say how it lies."""

    pixels: Array
    finding: Array
    tags: dict[str, Any] = field(default_factory=dict)


@cache
def upright() -> tuple[Array, Array]:
    """Return pixels of 12 bits and the mask of the first phantom that has an opacity."""
    drawn = phantom(HELD_OUT_SEEDS[0], size=SIDE, opacity=True)
    return np.rint(drawn.image * 4095).astype("<u2"), drawn.mask


def half_as_high(pixels: Array, mask: Array) -> tuple[Array, Array]:
    size = (SIDE, SIDE // 2)
    image = Image.fromarray(pixels.astype(np.float32)).resize(size, Image.Resampling.BOX)
    return np.asarray(image).astype("<u2"), np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def placed(kind: str) -> Placed:
    pixels, mask = upright()
    match kind:
        case "turned half":
            return Placed(np.rot90(pixels, 2), np.rot90(mask, 2), {"PatientOrientation": ["R", "H"]})
        case "on its side":
            return Placed(np.rot90(pixels), np.rot90(mask), {"PatientOrientation": ["H", "L"]})
        case "flipped":
            return Placed(np.fliplr(pixels), np.fliplr(mask), {"PatientOrientation": ["R", "F"]})
        case "upside down":
            return Placed(np.flipud(pixels), np.flipud(mask), {"PatientOrientation": ["L", "H"]})
        case "low pixels":
            return Placed(*half_as_high(pixels, mask), {"PixelAspectRatio": [2, 1]})
        case "low pixels of known size":
            return Placed(*half_as_high(pixels, mask), {"ImagerPixelSpacing": [0.4, 0.2]})
        case "two frames":
            return Placed(pixels, mask, {"Modality": "OT", "NumberOfFrames": 2})
    return Placed(pixels, mask)


FOUND = ("as it is", "turned half", "flipped", "upside down", "low pixels", "low pixels of known size", "two frames")
KINDS = (*FOUND, "on its side")  # where the demo model finds nothing: it has not seen chests that lie so


def uid_of(kind: str) -> str:
    return f"1.2.826.0.1.3680043.4.{KINDS.index(kind) + 1}"


def image(kind: str) -> bytes:
    what = placed(kind)
    made = study(np.ascontiguousarray(what.pixels), StudyInstanceUID=uid_of(kind), **what.tags)
    made.SOPInstanceUID = f"{uid_of(kind)}.1"
    if kind == "two frames":
        made.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
        made.PixelData = made.PixelData + bytes(len(made.PixelData))  # the second is black
    return written(made)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[bytes]]]:
    """The results of all images, by the UID of their study."""
    folder = tmp_path_factory.mktemp("geometry")
    with running_orthanc(folder / "orthanc") as orthanc, watching(watch_file(folder, orthanc, RULES)) as watch:
        orthanc.stow(*map(image, KINDS))
        watch.until_done(len(KINDS))
        found: dict[str, list[bytes]] = {uid_of(kind): [] for kind in KINDS}
        for uid, identifier in orthanc.instances().items():
            if uid.startswith("2.25."):
                file = orthanc.file(identifier)
                found[parsed(file).StudyInstanceUID].append(file)
        yield found


def segmentation(objects: dict[str, list[bytes]], kind: str, form: str) -> Array:
    [found] = [each for each in map(parsed, objects[uid_of(kind)]) if each.get("SegmentationType") == form]
    return np.asarray(found.pixel_array)


@pytest.mark.parametrize("kind", FOUND)
def test_the_heat_lies_on_the_finding(objects: dict[str, list[bytes]], kind: str) -> None:
    levels, regions = (segmentation(objects, kind, form) for form in ("FRACTIONAL", "BINARY"))
    finding = placed(kind).finding
    hottest = np.unravel_index(levels.argmax(), levels.shape)

    assert levels.shape == regions.shape == finding.shape
    assert levels[finding].mean() > TIMES_HOTTER * levels[~finding].mean()
    assert regions[hottest] == 1
    rows, columns = np.nonzero(finding)
    assert rows.min() <= hottest[0] <= rows.max()
    assert columns.min() <= hottest[1] <= columns.max()


@pytest.mark.parametrize("kind", KINDS)
def test_the_overlay_is_the_image_below_the_heat_pixel_by_pixel(objects: dict[str, list[bytes]], kind: str) -> None:
    pixels, levels = placed(kind).pixels.astype(float), segmentation(objects, kind, "FRACTIONAL")
    [capture] = [each for each in map(parsed, objects[uid_of(kind)]) if each.Modality == "OT"]
    rows, columns = pixels.shape
    drawn = capture.pixel_array[:rows, :columns].astype(float)

    gray = (drawn - ALPHA * JET[levels]) / (1 - ALPHA)
    stretched = (pixels - pixels.min()) / (pixels.max() - pixels.min()) * 255
    assert np.abs(gray - stretched[:, :, np.newaxis]).max() < LEVELS_OFF


@pytest.mark.parametrize("kind", KINDS)
def test_the_results_lie_as_their_source(objects: dict[str, list[bytes]], kind: str) -> None:
    source = parsed(image(kind))
    for each in map(parsed, objects[uid_of(kind)]):
        for keyword in PLACE:
            if keyword in source and keyword in each and not (keyword == "Rows" and each.Modality == "OT"):
                assert each[keyword].value == source[keyword].value, (each.Modality, keyword)
        assert each.PatientOrientation == source.PatientOrientation
