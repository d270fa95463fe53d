"""The option `frame` at every entry point, on a DICOM file whose second frame alone is bright."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from functions.endpoint.app import create_app as create_endpoint
from functions.endpoint.attributes import CUSTOM_ATTRIBUTES
from heatlens.model import Model
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.functional.batch.test_options import explained
from tests.support.aws import Account
from tests.support.dicom import dataset, written
from tests.support.images import encoded
from tests.support.sagemaker import enveloped, with_endpoint
from tests.support.staged import desk

ROUTE = "/api/inference"
LEVELS = np.array([0, 255, 10], "u1")


def film() -> bytes:
    frames = np.full((3, 32, 32), LEVELS[:, None, None], "u1")
    made = dataset(frames[0], NumberOfFrames=3)
    made.PixelData = frames.tobytes()
    return written(made)


FILM = film()
PNG = encoded(Image.new("L", (32, 32)))


@pytest.fixture(scope="module")
def client(tiny_folder: Path) -> Iterator[TestClient]:
    app = create_app(ServerSettings(model_dir=tiny_folder), deployment="server")
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def facts(answer: dict[str, Any]) -> tuple[str, int | None]:
    return answer["prediction"]["label"], answer["frame"]


@pytest.mark.parametrize(
    ("query", "expected"), [("", ("DARK", 1)), ("?frame=2", ("BRIGHT", 2)), ("?frame=3", ("DARK", 3))]
)
@pytest.mark.parametrize("route", ["heatmap", "predict"])
def test_a_frame_is_explained_and_named(client: TestClient, route: str, query: str, expected: tuple[str, int]) -> None:
    answer = client.post(f"{ROUTE}/{route}{query}", files={"file": ("film.dcm", FILM)})

    assert answer.status_code == 200, answer.text
    assert facts(answer.json()) == expected


def test_a_frame_in_a_body(client: TestClient) -> None:
    body = {"image_base64": base64.b64encode(FILM).decode(), "frame": 2}

    assert facts(client.post(f"{ROUTE}/heatmap", json=body).json()) == ("BRIGHT", 2)
    form = client.post(f"{ROUTE}/heatmap", files={"file": ("film.dcm", FILM)}, data={"frame": "2"})
    assert facts(form.json()) == ("BRIGHT", 2)


def test_a_picture_has_its_frame_in_a_header(client: TestClient) -> None:
    accept = {"accept": "image/png"}
    of_film = client.post(f"{ROUTE}/heatmap?frame=2", files={"file": ("film.dcm", FILM)}, headers=accept)
    of_png = client.post(f"{ROUTE}/heatmap", files={"file": ("image.png", PNG)}, headers=accept)

    assert of_film.headers["x-heatlens-frame"] == "2"
    assert "x-heatlens-frame" not in of_png.headers


@pytest.mark.provokes("input.frame")
@pytest.mark.parametrize("route", ["heatmap", "predict"])
def test_a_frame_that_is_not_there_is_refused(client: TestClient, route: str) -> None:
    answer = client.post(f"{ROUTE}/{route}?frame=4", files={"file": ("film.dcm", FILM)})

    assert problem(answer, 400, "input.frame")["detail"] == (
        "the DICOM file has 3 frames, and no frame 4: give one from 1 to 3"
    )


@pytest.mark.parametrize("frame", ["0", "-1", "first", "1.5", "2147483648", ""])
def test_what_is_no_number_of_a_frame_is_refused(client: TestClient, frame: str) -> None:
    answer = client.post(f"{ROUTE}/heatmap?frame={frame}", files={"file": ("film.dcm", FILM)})

    assert problem(answer, 422, "request.invalid")["errors"][0]["loc"] == ["query", "frame"]


@pytest.mark.parametrize("route", ["heatmap-batch", "predict-batch"])
def test_an_image_without_the_frame_fails_alone(client: TestClient, route: str) -> None:
    files = [("files", ("film.dcm", FILM)), ("files", ("image.png", PNG))]
    [film, png] = client.post(f"{ROUTE}/{route}?frame=3", files=files).json()["results"]

    assert facts(film) == ("DARK", 3)
    assert (png["success"], png["code"]) == (False, "input.frame")
    assert png["error"] == "only DICOM has frames to choose from, and this image is of another type: leave frame out"


def test_an_endpoint_takes_a_frame(tiny_folder: Path) -> None:
    headers = {CUSTOM_ATTRIBUTES: "frame=2", "content-type": "application/dicom"}
    with TestClient(create_endpoint(ServerSettings(model_dir=tiny_folder))) as endpoint:
        assert facts(endpoint.post("/invocations", content=FILM, headers=headers).json()) == ("BRIGHT", 2)


@pytest.mark.parametrize("backend", ["lambda", "sagemaker"])
def test_a_staged_batch_takes_a_frame(aws: Account, tiny_model: Model, tiny_folder: Path, backend: str) -> None:
    staged = desk(aws, tiny_model)
    runtime = with_endpoint(staged, tiny_folder)
    staged.batch(FILM, options={"frame": 2, "backend": backend})

    staged.work(staged.received(staged.put(FILM)))
    staged.work(staged.received(*(enveloped(each) for each in runtime.notices)))

    [result, _] = explained(staged)
    assert facts(result) == ("BRIGHT", 2)
    assert result["options"]["frame"] == 2
