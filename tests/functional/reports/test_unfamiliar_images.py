"""An image of another kind is answered with a sharp map and a sure class: every answer says that it is unfamiliar."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from heatlens.card import FamiliarityReference, read_card, write_card
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.support.colors import write_colors_model
from tests.support.images import encoded

API = "/api/inference"
GRAY = encoded(Image.new("RGB", (32, 32), (128, 128, 128)))  # as the calibration images
GREEN = encoded(Image.new("RGB", (32, 32), (0, 255, 0)))


def text(values: list[float]) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


REFERENCE = FamiliarityReference(
    images=64,
    features=3,
    mean_base64=text([0.5] * 3),
    whitening_base64=text([10, 0, 10, 0, 0, 10]),
    distance_percentiles={"50": 0.5, "99.9": 1.0},
    auroc=1,
    strange=1,
    unfamiliar={"green": 1},
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = write_colors_model(tmp_path_factory.mktemp("models") / "compared")
    card, _ = read_card(folder)
    layers = (card.layers[0].model_copy(update={"familiarity": REFERENCE}), *card.layers[1:])
    write_card(card.model_copy(update={"layers": layers}), folder)
    with TestClient(create_app(ServerSettings(model_dir=folder), deployment="server")) as client:
        yield client


def kserve(data: bytes) -> dict[str, Any]:
    return {"instances": [{"image_bytes": {"b64": base64.b64encode(data).decode()}}]}


def answers(client: TestClient, data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the fields of one image in every answer that has them."""
    yield client.post(f"{API}/heatmap", files={"file": ("a.png", data)}).json()
    yield client.post(f"{API}/heatmap?include=map&method=layercam", files={"file": ("a.png", data)}).json()
    yield client.post(f"{API}/heatmap-batch", files=[("files", ("a.png", data))]).json()["results"][0]
    yield client.post(f"{API}/predict", files={"file": ("a.png", data)}).json()
    yield client.post(f"{API}/predict-batch", files=[("files", ("a.png", data))]).json()["results"][0]
    yield client.post("/v1/models/compared:explain", json=kserve(data)).json()["explanations"][0]
    yield client.post("/v1/models/compared:predict", json=kserve(data)).json()["predictions"][0]


@pytest.mark.contract("familiarity")
def test_every_answer_says_whether_the_image_is_familiar(client: TestClient) -> None:
    for answer in answers(client, GREEN):
        assert answer["familiarity"] == {"percentile": 100, "unfamiliar": True}
    for answer in answers(client, GRAY):
        assert answer["familiarity"]["unfamiliar"] is False
        assert 0 <= answer["familiarity"]["percentile"] < 50


def test_a_layer_without_a_reference_says_nothing(client: TestClient) -> None:
    answer = client.post(f"{API}/heatmap?layer=patches", files={"file": ("a.png", GREEN)}).json()
    assert answer["familiarity"] is None


def test_the_overlay_itself_has_it_in_a_header(client: TestClient) -> None:
    for query, expected in (("", "100"), ("?layer=patches", "unknown")):
        response = client.post(
            f"{API}/heatmap{query}", files={"file": ("a.png", GREEN)}, headers={"accept": "image/png"}
        )
        assert response.headers["x-heatlens-familiarity"] == expected


def test_the_reference_survives_the_card(tmp_path: Path) -> None:
    folder = write_colors_model(tmp_path / "model")
    card, _ = read_card(folder)
    write_card(
        card.model_copy(update={"layers": (card.layers[0].model_copy(update={"familiarity": REFERENCE}),)}), folder
    )
    found = read_card(folder)[0].layers[0].familiarity
    assert found is not None
    assert found.model_dump() == REFERENCE.model_dump()
    assert found.whitening.tolist() == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
