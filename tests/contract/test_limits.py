"""Every limit is exact: one less and the number itself pass, one more gets its status and message.

The numbers themselves are in the tests of settings in tests/unit; here each is so low that its neighbors are cheap.
"""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from heatlens_aws.settings import STAGED_LIMITS
from heatlens_web.app import create_app
from heatlens_web.settings import Deployment, ServerLimits, ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.support.aws import Account
from tests.support.images import encoded, noise

URL = "/api/inference/heatmap"
RAW = {"content-type": "image/png"}
IMAGE = encoded(noise((24, 24)))
Ask = Callable[[TestClient, int], Any]


def of_size(size: int) -> bytes:
    """Return the image, padded to the size."""
    return IMAGE + bytes(size - len(IMAGE))


def wide(pixels: int) -> bytes:
    return encoded(Image.new("L", (pixels, 1), 200))


def file_bytes(client: TestClient, size: int) -> Any:  # noqa: ANN401 - a response
    return client.post(URL, files={"file": of_size(size)})


def body_bytes(client: TestClient, size: int) -> Any:  # noqa: ANN401 - a response
    return client.post(URL, content=of_size(size), headers=RAW)


def image_pixels(client: TestClient, pixels: int) -> Any:  # noqa: ANN401 - a response
    return client.post(URL, content=wide(pixels), headers=RAW)


def image_bytes(client: TestClient, size: int) -> Any:  # noqa: ANN401 - a response
    return client.post(URL, content=wide(max(1, -(-size // 22))), headers=RAW)  # 22 bytes for each pixel drawn


def request_pixels(client: TestClient, pixels: int) -> Any:  # noqa: ANN401 - a response
    return client.post(f"{URL}-batch", files=[("files", wide(100)), ("files", wide(pixels - 100))])


def files(client: TestClient, count: int) -> Any:  # noqa: ANN401 - a response
    return client.post(f"{URL}-batch", files=[("files", ("a.png", IMAGE))] * count)


def images(client: TestClient, count: int) -> Any:  # noqa: ANN401 - a response
    image = {"image_base64": base64.b64encode(IMAGE).decode()}
    return client.post(f"{URL}-batch", json={"images": [image] * count})


def targets(client: TestClient, count: int) -> Any:  # noqa: ANN401 - a response
    return client.post(f"{URL}?target=top-{count}", content=IMAGE, headers=RAW)


def passes(client: TestClient, count: int) -> Any:  # noqa: ANN401 - a response
    # Three channels and the image itself: as many images as make so many passes.
    return client.post(f"{URL}-batch?method=scorecam", files=[("files", ("a.png", IMAGE))] * count)


TOGETHER = (
    "the images have 0.0 megapixels together, over the limit of 0.001 per request: send fewer or smaller ones at a time"
)
DRAWING = (
    "drawing this image of 0.0 megapixels takes about 0 MB of memory and there are 0 for it: "
    "send a smaller image, or give the function or the server more memory"
)
CASES: dict[str, tuple[str, int, dict[str, int], Ask, int, str, str]] = {
    # limit: (setting, number, further settings, how to reach it, status, code, message)
    "a file": ("file_bytes", 5000, {}, file_bytes, 413, "limit.file_bytes",
               "the file is over the limit of 5,000 bytes per file"),
    "a body": ("body_bytes", 5000, {}, body_bytes, 413, "limit.body_bytes",
               "the request body is over the limit of 5,000 bytes"),
    "an image": ("image_pixels", 2000, {}, image_pixels, 413, "limit.image_pixels",
                 "the image is over the limit of 0.002 megapixels per image"),
    "the memory of an image": ("image_bytes", 22 * 2000, {}, image_bytes, 413, "limit.image_memory",
                               DRAWING),
    "the images of a request": ("request_pixels", 1000, {}, request_pixels, 413, "limit.request_pixels", TOGETHER),
    "the files of a form": ("files", 3, {}, files, 400, "request.too_many_files",
                            "more than 3 in the field 'files': send fewer at a time"),
    "the images of a body": ("files", 3, {}, images, 400, "request.too_many_files",
                             "more than 3 images: send fewer at a time"),
    "the targets of an image": ("targets", 2, {}, targets, 413, "limit.targets",
                                "3 targets for each image, over the limit of 2: ask for fewer"),
}  # fmt: skip


def client_of(folder: Path, deployment: Deployment, **settings: int) -> TestClient:
    app = create_app(ServerSettings.model_validate({"model_dir": folder} | settings), deployment=deployment)
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.contract("413", "JSON", "limits")
@pytest.mark.parametrize("deployment", ["lambda", "server"])
@pytest.mark.parametrize("what", CASES)
def test_every_limit_is_exact(colours_folder: Path, what: str, deployment: Deployment) -> None:
    setting, number, others, ask, status, code, sentence = CASES[what]
    client = client_of(colours_folder, deployment, **{setting: number}, **others)

    for fitting in (number - 1, number):
        answer = ask(client, fitting)
        assert answer.status_code == 200, answer.text
        assert answer.json().get("failed", 0) == 0
    assert problem(ask(client, number + 1), status, code)["detail"] == sentence


@pytest.mark.contract("limits")
@pytest.mark.parametrize("deployment", ["lambda", "server"])
def test_passes_of_the_network(colours_folder: Path, deployment: Deployment) -> None:
    client = client_of(colours_folder, deployment, passes=8)

    assert [passes(client, images).status_code for images in (1, 2)] == [200, 200]
    error = problem(passes(client, 3), 413, "limit.passes")
    assert error["detail"] == (
        "scorecam runs the network 4 times for an image, 12 times for this request, over the limit of 8: send fewer "
        "images, or choose another method"
    )
    assert passes(client_of(colours_folder, deployment, passes=12), 3).status_code == 200
    assert passes(client_of(colours_folder, deployment, passes=11), 3).status_code == 413


@pytest.mark.contract("limits")
@pytest.mark.parametrize(
    ("setting", "accept"), [("answer_json_bytes", "application/json"), ("answer_binary_bytes", "image/png")]
)
def test_the_response_limit_is_exact(
    colours_folder: Path, setting: str, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heatlens_web.context.request_id", lambda _: "r" * 32)
    headers = RAW | {"accept": accept}

    def answered(limit: int) -> Any:  # noqa: ANN401 - a response
        client = client_of(colours_folder, "lambda", **{setting: limit})
        return client.post(f"{URL}?include=overlay", content=IMAGE, headers=headers)

    # Times vary in their number of digits, so JSON is tested with some slack.
    size, slack = len(answered(10**6).content), 0 if accept == "image/png" else 400
    assert answered(size + slack).status_code == 200
    error = problem(answered(size - slack - 1), 413, "limit.answer_bytes")
    assert f", this server can send {size - slack - 1:,}: " in error["detail"]


ITEM_CASES = {name: CASES[name] for name in ("a file", "an image")}


@pytest.mark.contract("413")
@pytest.mark.parametrize("what", ITEM_CASES)
def test_in_a_batch_a_limit_of_one_file_fails_only_its_item(colours_folder: Path, what: str) -> None:
    setting, number, _, _, _, code, sentence = CASES[what]
    client = client_of(colours_folder, "lambda", **{setting: number})
    too_much = of_size(number + 1) if what == "a file" else wide(number + 1)

    body = client.post(f"{URL}-batch", files=[("files", IMAGE), ("files", too_much)]).json()

    assert [(item["success"], item["code"], item["error"]) for item in body["results"]] == [
        (True, None, None),
        (False, code, sentence),
    ]


def declared(client: TestClient, batch: str, count: int = 1, size: int = 10) -> Any:  # noqa: ANN401 - a response
    file = {"name": "a.png", "size": size, "sha256": "0" * 64, "media_type": "image/png"}
    return client.post(f"/api/inference/batches/{batch}/files", json={"files": [file] * count})


@pytest.mark.contract("limits")
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_staged_batches(aws: Account, colours_folder: Path, monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    for name, value in {"BUCKET": aws.settings.bucket, "TABLE": aws.settings.table, "CALL_FILES": "5"}.items():
        monkeypatch.setenv(f"HEATLENS_{name}", value)
    client = client_of(colours_folder, "lambda")

    opened = client.post("/api/inference/batches", json={"expected_files": 10_000 + more})
    batch = client.post("/api/inference/batches", json={"expected_files": 20}).json()["batch_id"]
    in_a_call, of_a_file = (
        declared(client, batch, 5 + more),
        declared(client, batch, size=STAGED_LIMITS.file_bytes + more),
    )

    if more < 1:
        assert (opened.status_code, in_a_call.status_code, of_a_file.status_code) == (201, 200, 200)
        return
    assert problem(opened, 400, "request.too_many_files")["detail"] == "more than 10,000 files: make several batches"
    assert problem(in_a_call, 400, "request.too_many_files")["detail"] == (
        "more than 5 files in one call: declare them in several"
    )
    wrong = problem(of_a_file, 422, "request.invalid")
    assert wrong["errors"][0]["loc"] == ["body", "files", 0, "size"]
    assert wrong["detail"] == "files.0.size: Input should be less than or equal to 104857600"


@pytest.mark.contract("limits")
def test_every_limit_is_tested() -> None:
    tried = {setting for setting, *_ in CASES.values()} | {"passes", "answer_json_bytes", "answer_binary_bytes"}

    assert set(ServerLimits.model_fields) - tried == {"faithfulness_s"}  # a budget, which rejects nothing
