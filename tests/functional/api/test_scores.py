"""Scores without heatmaps: `predict`, `predict-batch`."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from heatlens import draw, pipeline
from heatlens.engines.openvino import OpenVinoEngine
from heatlens.explain.predict import score, scores
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.functional.api.test_options import PIXELS
from tests.support.colors import CLASSES
from tests.support.images import encoded, noise
from tests.support.tiny import WEIGHT, bare_card

URL = "/api/inference/predict"
BATCH = "/api/inference/predict-batch"
DATA = encoded(Image.fromarray(PIXELS))


@pytest.fixture(scope="module")
def client(colours_folder: Path) -> Iterator[TestClient]:
    app = create_app(ServerSettings(model_dir=colours_folder), deployment="server")
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.contract("predict")
def test_every_class_has_its_score(client: TestClient) -> None:
    body = client.post(URL, files={"file": ("scan.png", DATA)}).json()

    logits = [WEIGHT * PIXELS[..., index].mean() / 255 for index in range(3)]
    assert [each["label"] for each in body["classes"]] == list(CLASSES)
    assert [each["index"] for each in body["classes"]] == [0, 1, 2]
    assert [each["logit"] for each in body["classes"]] == pytest.approx(logits, rel=1e-5)
    assert [each["probability"] for each in body["classes"]] == pytest.approx(np.exp(logits) / np.exp(logits).sum())
    assert body["prediction"]["label"] == CLASSES[1]
    assert body["prediction"]["logit"] == body["classes"][1]["logit"]
    assert (body["success"], body["filename"], body["width"], body["height"]) == (True, "scan.png", 32, 32)
    assert set(body["timings_ms"]) == {"decode", "preprocess", "trunk", "tail"}
    assert body["model"]["name"] == "colours"
    assert set(body) == {
        "success", "filename", "width", "height", "prediction", "classes", "timings_ms", "processing_time_ms", "model",
        "request_id", "notes", "frame", "familiarity",
    }  # fmt: skip


def test_the_prediction_is_that_of_the_heatmap_route(client: TestClient) -> None:
    scored = client.post(URL, files={"file": DATA}).json()
    explained = client.post("/api/inference/heatmap?target=top-3&include=map", files={"file": DATA}).json()

    assert scored["prediction"] == explained["prediction"]
    names = ("label", "index", "probability", "logit")
    by_rank = sorted(scored["classes"], key=lambda each: -each["logit"])
    assert by_rank == [{n: each[n] for n in names} for each in explained["explanations"]]


@pytest.mark.contract("predict")
def test_predict_draws_nothing(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for drawing in ("color_map", "blend", "encode", "png"):
        monkeypatch.delattr(draw, drawing)

    assert client.post(BATCH, files=[("files", DATA)] * 3).json()["succeeded"] == 3


@pytest.mark.contract("predict")
def test_a_file_that_fails_does_not_affect_the_others(client: TestClient) -> None:
    files = [("files", ("a.png", DATA)), ("files", ("b.png", b"")), ("files", ("c.png", DATA))]

    body = client.post(BATCH, files=files).json()

    assert [each["success"] for each in body["results"]] == [True, False, True]
    assert (body["succeeded"], body["failed"]) == (2, 1)
    failed = body["results"][1]
    assert (failed["filename"], failed["code"], failed["error"]) == ("b.png", "input.empty", "the file is empty")
    assert failed["classes"] is None


def test_images_share_one_pass(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    trunk = OpenVinoEngine.trunk

    def counted(engine: OpenVinoEngine, batch: Any) -> Any:  # noqa: ANN401 - as the engine's
        sizes.append(len(batch))
        return trunk(engine, batch)

    monkeypatch.setattr(OpenVinoEngine, "trunk", counted)
    client.post(BATCH, files=[("files", DATA)] * 10)

    assert sizes == [8, 2]


def test_an_image_that_the_engine_fails_at_does_not_affect_the_others(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = encoded(Image.new("L", (8, 8), 77))
    trunk = OpenVinoEngine.trunk

    def picky(engine: OpenVinoEngine, batch: Any) -> Any:  # noqa: ANN401 - as the engine's
        if any(abs(float(image.mean()) * 255 - 77) < 0.5 for image in batch):
            raise RuntimeError("no")
        return trunk(engine, batch)

    monkeypatch.setattr(OpenVinoEngine, "trunk", picky)

    body = client.post(BATCH, files=[("files", DATA), ("files", poison), ("files", DATA)]).json()

    assert [each["code"] for each in body["results"]] == [None, "generation.failed", None]


@pytest.mark.parametrize("url", [URL, BATCH])
def test_bad_requests_get_the_errors_of_the_heatmap_routes(client: TestClient, url: str) -> None:
    problem(client.post(url), 422, "request.invalid")
    problem(
        client.post(url, content=DATA, headers={"content-type": "text/plain"}), 415, "request.unsupported_content_type"
    )
    problem(client.post(url, content=b"{", headers={"content-type": "application/json"}), 400, "request.malformed")
    problem(client.post(f"{url}?model=none", files={"file": DATA, "files": DATA}), 422, "request.invalid")


def test_a_bad_image_is_a_400_and_json_bodies_are_accepted(client: TestClient) -> None:
    problem(client.post(URL, files={"file": b"text"}), 400, "input.unsupported")
    image = {"image_base64": base64.b64encode(DATA).decode(), "filename": "a.png"}
    assert client.post(URL, json=image).json()["filename"] == "a.png"
    assert client.post(BATCH, json={"images": [image, image]}).json()["succeeded"] == 2


def test_a_sigmoid_model_has_two_classes(tiny_folder: Path) -> None:
    client = TestClient(create_app(ServerSettings(model_dir=tiny_folder), deployment="lambda"))

    body = client.post(URL, files={"file": encoded(noise((20, 20)))}).json()

    dark, bright = body["classes"]
    assert (dark["label"], bright["label"]) == ("DARK", "BRIGHT")
    assert dark["logit"] == -bright["logit"]
    assert dark["probability"] + bright["probability"] == pytest.approx(1)


def test_values_that_are_not_finite_are_a_failure_without_details(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "classify", lambda *_: (np.full((1, 3), np.nan, np.float32),) * 2)

    assert problem(client.post(URL, files={"file": DATA}), 500, "generation.failed")["detail"] == (
        "the image could not be classified"
    )

    def broken(*_: object) -> Any:  # noqa: ANN401
        raise RuntimeError("secret")

    monkeypatch.setattr(pipeline, "classify", broken)
    assert "secret" not in client.post(URL, files={"file": DATA}).text


@pytest.mark.parametrize("output", ["softmax", "multilabel"])
def test_batch_scores_equal_single_scores(output: Any) -> None:  # noqa: ANN401 - a literal
    card = bare_card(("a", "b", "c"), output)
    logits = np.array([-3.5, 80.0, 0.25], np.float32)

    batch_scores = scores(logits, card)

    assert [(each.probability, each.logit) for each in batch_scores] == [
        score(logits, index, card) for index in range(3)
    ]
    assert json.dumps([[each.probability, each.logit] for each in batch_scores])
