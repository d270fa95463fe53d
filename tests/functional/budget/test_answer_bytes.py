"""How many bytes an answer has, compared with the pictures in it and with what Pillow would write."""

import base64
import io
import math
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from heatlens_cli.measure import sample_image

MOST_OF_PILLOWS = 1.25  # of the bytes of Pillow's own PNG, which takes thirty times as long
RAW_MAP = 0.001  # of the answer with overlay and original
CELLS = 49  # of the grid of ResNet-50 at 224 x 224
FACTS = 1500  # bytes of JSON beside the pictures


@pytest.fixture(scope="module")
def sample() -> bytes:
    """A JPEG of 1024 x 1024 pixels."""
    return sample_image().read_bytes()


def ask(client: TestClient, sample: bytes, include: str) -> tuple[dict[str, Any], int]:
    answer = client.post("/api/inference/heatmap", params={"include": include}, files={"file": sample})
    assert answer.status_code == 200, answer.text
    return answer.json(), len(answer.content)


def test_an_overlay_is_hardly_larger_than_pillows(client: TestClient, sample: bytes) -> None:
    written = base64.b64decode(ask(client, sample, "overlay")[0]["heatmap_base64"])
    again = io.BytesIO()
    with Image.open(io.BytesIO(written)) as overlay:
        overlay.save(again, "PNG")

    assert len(written) < MOST_OF_PILLOWS * len(again.getvalue())


def test_an_answer_has_its_pictures_once_and_the_original_as_it_came(client: TestClient, sample: bytes) -> None:
    fields, size = ask(client, sample, "overlay,original")

    assert base64.b64decode(fields["original_image_base64"]) == sample
    assert size < len(fields["heatmap_base64"]) + len(fields["original_image_base64"]) + FACTS


def test_an_answer_with_a_raw_map_is_a_thousandth_of_one_with_pictures(client: TestClient, sample: bytes) -> None:
    fields, size = ask(client, sample, "map")
    _, pictures = ask(client, sample, "overlay,original")
    height, width = fields["map"]["shape"]
    values = len(fields["map"].pop("data_base64"))

    assert values == math.ceil(height * width * 4 / 3) * 4
    assert size - values + CELLS * 4 * 4 / 3 < RAW_MAP * pictures
