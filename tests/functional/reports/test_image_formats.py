"""Images as phones, browsers and converters write them."""

import base64
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pi_heif
import pytest
from PIL import Image

from heatlens.input.decode import decode, measure
from tests.functional.conftest import MakeClient
from tests.support.images import encoded, noise

URL = "/api/inference/heatmap"
MANY = 1_000_000
PICTURE = noise((8, 6)).resize((64, 48), Image.Resampling.BICUBIC)
HEIC = Path(__file__).parents[2] / "support" / "heic"


def shown(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(decode(data, max_pixels=MANY).image.convert("RGB"), int)


@pytest.mark.contract("other types")
@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000"])
def test_images_of_phones_and_browsers_are_explained(make_client: MakeClient, kind: str) -> None:
    data = encoded(PICTURE, kind, **({"quality": 95} if kind == "AVIF" else {}))

    response = make_client().post(URL, files={"file": ("photo", data)})

    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["width"], body["height"], body["original_media_type"]) == (64, 48, "image/png")
    original = Image.open(io.BytesIO(base64.b64decode(body["original_image_base64"])))
    assert np.array_equal(np.asarray(original.convert("RGB"), int), shown(data))
    assert np.abs(shown(data) - np.asarray(PICTURE, int)).mean() < 3
    assert measure(data, max_pixels=MANY) == 64 * 48


@pytest.mark.contract("other types")
def test_the_first_frame_of_a_gif_is_explained_on_black(make_client: MakeClient) -> None:
    first = PICTURE.quantize(32)
    data = encoded(first, "GIF", save_all=True, append_images=[noise((64, 48)).quantize(8)], transparency=5)
    expected = np.asarray(first.convert("RGB"), int)
    expected[np.asarray(first) == 5] = 0

    assert np.array_equal(shown(data), expected)
    assert make_client().post(URL, files={"file": data}).json()["original_media_type"] == "image/png"


@pytest.mark.parametrize("kind", ["AVIF", "GIF", "JPEG2000"])
def test_a_truncated_file_of_any_type_is_unreadable(make_client: MakeClient, kind: str) -> None:
    data = encoded(PICTURE, kind)

    response = make_client().post(URL, files={"file": data[: len(data) // 2]})

    assert (response.status_code, response.json()["code"]) == (400, "input.unreadable")


def test_a_tiff_of_premultiplied_gray_is_composed_on_black() -> None:
    """Pillow writes no mode La: here LA, with the value of the tag ExtraSamples that says premultiplied."""
    tag = b"\x52\x01\x03\0\x01\0\0\0"
    image = noise((30, 20), "L").convert("LA")
    image.putalpha(noise((30, 20), "L", seed=1))
    gray, alpha = np.asarray(image, int)[..., 0], np.asarray(image, int)[..., 1]
    premultiplied = Image.fromarray(np.stack([gray * alpha // 255, alpha], axis=-1).astype(np.uint8))
    data = encoded(premultiplied, "TIFF").replace(tag + b"\x02\0", tag + b"\x01\0")

    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "La"
    assert np.abs(shown(data)[..., 0] - gray * alpha // 255).max() <= 1


@pytest.mark.contract("other types")
def test_heic_is_explained(make_client: MakeClient) -> None:
    data = (HEIC / "gradient.heif").read_bytes()

    response = make_client().post(URL, files={"file": ("IMG_0001.HEIC", data)})

    assert response.status_code == 200, response.text
    assert (response.json()["width"], response.json()["height"]) == (29, 100)
    assert np.array_equal(shown(data), np.asarray(pi_heif.open_heif(io.BytesIO(data)), int))
    assert np.ptp(shown(data)) == 255


def test_a_damaged_heic_is_unreadable(make_client: MakeClient) -> None:
    data = (HEIC / "gradient.heif").read_bytes()

    for damaged in (data[:60], data[: len(data) // 2], data[:24] + bytes(200)):
        response = make_client().post(URL, files={"file": damaged})
        assert (response.status_code, response.json()["code"]) == (400, "input.unreadable")


def test_without_its_extra_heic_is_refused_by_name(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)

    response = make_client().post(URL, files={"file": (HEIC / "gradient.heif").read_bytes()})

    assert (response.status_code, response.json()["code"]) == (400, "input.unsupported")
    assert response.json()["detail"].endswith("pip install 'heatlens[heic]'")
