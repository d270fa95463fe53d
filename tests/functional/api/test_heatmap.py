"""The heatmap route: its responses to valid images and options."""

import base64
import io
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from heatlens.card import Preprocess
from heatlens.explain.cam import positive, signed
from heatlens.render.color import SIGNED, overlay
from heatlens.types import Colormap
from tests.functional.conftest import MakeClient
from tests.support.images import encoded, noise
from tests.support.paths import ROOT
from tests.support.tiny import GRID, SIDE, WEIGHT, write_tiny_model

URL = "/api/inference/heatmap"
CONFORMANCE = ROOT / "tests" / "contract" / "conformance"


def post(client: TestClient, data: bytes, query: str = "", name: str = "scan.png") -> dict[str, Any]:
    response = client.post(f"{URL}{query}", files={"file": (name, data)})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def picture(base64_text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(base64_text, validate=True)))
    image.load()
    return image


def signed_map(answer: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    raw = base64.b64decode(answer["map"]["data_base64"])
    return np.frombuffer(raw, "<f4").reshape(answer["map"]["shape"])


@pytest.mark.contract("heatmap", "heatmap answer")
def test_the_base_response(client: TestClient) -> None:
    data = encoded(noise((64, 48)))

    answer = post(client, data)

    assert answer["success"] is True
    assert answer["filename"] == "scan.png"
    assert picture(answer["heatmap_base64"]).size == (64, 48)
    assert base64.b64decode(answer["original_image_base64"]) == data
    assert answer["processing_time_ms"] > 0


@pytest.mark.contract("prediction", "model", "facts")
def test_the_fields_of_the_extensions(client: TestClient) -> None:
    answer = post(client, encoded(noise((64, 48))))

    assert (answer["width"], answer["height"], answer["box"]) == (64, 48, [0, 0, 64, 48])
    assert (answer["media_type"], answer["original_media_type"]) == ("image/png", "image/png")
    assert answer["prediction"]["label"] == "BRIGHT"
    assert answer["prediction"]["logit"] == pytest.approx(answer["prediction"]["margin"])
    assert answer["quality"] == "ok"
    assert set(answer["timings_ms"]) == {"decode", "preprocess", "trunk", "tail", "cam", "colour", "encode"}
    assert answer["model"]["name"] == "tiny"
    assert len(answer["model"]["sha256"]) == 64
    assert answer["model"] | {"sha256": ""} == {
        "name": "tiny",
        "version": "7",
        "sha256": "",
        "layer": "cells",
        "method": "gradcam",
        "engine": "openvino",
        "precision": "f32",
        "notice": "A test's model.",
        "image": "",
    }


@pytest.mark.contract("logit", "map", "include")
def test_the_map_is_the_models_own(client: TestClient) -> None:
    image = noise((SIDE, SIDE), "L")

    answer = post(client, encoded(image), "?include=map")

    cells = np.asarray(image, np.float32).reshape(GRID, 4, GRID, 4).mean(axis=(1, 3)) / 255
    assert signed_map(answer) == pytest.approx(cells * WEIGHT / GRID**2, rel=1e-4)
    assert answer["map"]["box"] == [0, 0, SIDE, SIDE]
    assert answer["heatmap_base64"] is None
    assert answer["original_image_base64"] is None


@pytest.mark.contract("one logit", "empty")
def test_a_negative_prediction_is_explained_by_the_negated_logit(client: TestClient) -> None:
    answer = post(client, encoded(Image.new("L", (32, 32), 1)), "?include=map,overlay")

    assert answer["prediction"]["label"] == "DARK"
    assert signed_map(answer).max() < 0
    assert answer["quality"] == "empty"
    blank = np.asarray(picture(answer["heatmap_base64"]))
    assert (blank == blank[0, 0]).all()  # not stretched into noise: the color of 0 everywhere


@pytest.mark.contract("heatmap", "alpha", "colormaps")
@pytest.mark.parametrize("colormap", get_args(Colormap))
@pytest.mark.parametrize("alpha", [0.1, 0.4, 0.9])
def test_colormap_and_alpha_change_the_overlay(client: TestClient, colormap: Any, alpha: float) -> None:  # noqa: ANN401
    image = noise((40, 30))

    answer = post(client, encoded(image), f"?colormap={colormap}&alpha={alpha}&include=overlay,map")

    heat = (signed if colormap in SIGNED else positive)(signed_map(answer))
    expected = overlay(image, heat, (0, 0, 40, 30), colormap=colormap, alpha=alpha)
    assert np.array_equal(np.asarray(picture(answer["heatmap_base64"])), np.asarray(expected))


@pytest.mark.contract("colormaps")
def test_a_signed_colormap_shows_negative_evidence_too(client: TestClient) -> None:
    dark = encoded(Image.new("L", (32, 32), 1))

    answer = post(client, dark, "?colormap=seismic&include=heatmap")

    assert np.asarray(picture(answer["map_image_base64"]))[0, 0].tolist() == [0, 0, 76]  # blue: negative evidence


@pytest.mark.contract("format")
@pytest.mark.parametrize(("form", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_format_applies_to_derived_images(client: TestClient, form: str, kind: str) -> None:
    data = encoded(noise((40, 30)))

    answer = post(client, data, f"?format={form}&include=overlay,heatmap,original")

    assert (answer["media_type"], answer["original_media_type"]) == (f"image/{form}", "image/png")
    for field in ("heatmap_base64", "map_image_base64"):
        assert (picture(answer[field]).format, picture(answer[field]).size) == (kind, (40, 30))
    assert base64.b64decode(answer["original_image_base64"]) == data


@pytest.mark.contract("include")
def test_the_colored_map_alone_is_what_the_overlay_blends(client: TestClient) -> None:
    image = noise((40, 30))

    answer = post(client, encoded(image), "?include=overlay,heatmap")
    alone = post(client, encoded(image), "?include=heatmap")

    coloured_map = picture(answer["map_image_base64"])
    assert coloured_map.mode == "RGB"
    blended = np.asarray(Image.blend(image, coloured_map, 0.4))
    assert np.array_equal(np.asarray(picture(answer["heatmap_base64"])), blended)
    assert (alone["map_image_base64"], alone["heatmap_base64"]) == (answer["map_image_base64"], None)
    assert alone["media_type"] == "image/png"
    assert post(client, encoded(image))["map_image_base64"] is None


@pytest.mark.contract("original option", "strip_original")
def test_the_original_can_be_a_png_or_stripped_of_metadata(client: TestClient) -> None:
    data = encoded(noise((40, 30)), "JPEG", comment=b"Lovelace", quality=95)

    answers = {query: post(client, data, query) for query in ("", "?original=png", "?strip_original=true")}

    originals = {query: base64.b64decode(answer["original_image_base64"]) for query, answer in answers.items()}
    assert originals[""] == data
    kinds = {query: answer["original_media_type"] for query, answer in answers.items()}
    assert kinds == {"": "image/jpeg", "?original=png": "image/png", "?strip_original=true": "image/jpeg"}
    same = [np.asarray(Image.open(io.BytesIO(original))) for original in originals.values()]
    assert all(np.array_equal(each, same[0]) for each in same)
    assert b"Lovelace" not in originals["?strip_original=true"]


@pytest.mark.contract("window")
def test_a_window_selects_the_gray_levels(client: TestClient) -> None:
    deep = encoded(Image.fromarray(np.array([[1000, 2000], [3000, 4000]], np.uint16)))

    answer = post(client, deep, "?window=2500.5,2001")
    as_json = {"image_base64": base64.b64encode(deep).decode(), "window": "2500.5,2001"}

    assert np.asarray(picture(answer["original_image_base64"])).tolist() == [[0, 64], [191, 255]]
    assert client.post(URL, json=as_json).json()["original_image_base64"] == answer["original_image_base64"]


def test_every_option_applies_to_a_batch(client: TestClient) -> None:
    data, query = encoded(noise((40, 30)), "JPEG"), "?format=webp&include=heatmap,original&original=png&colormap=gray"

    answer = client.post(f"{URL}-batch{query}", files=[("files", ("a", data)), ("files", ("b", data))]).json()

    one = post(client, data, query)
    for item in answer["results"]:
        for field in ("map_image_base64", "heatmap_base64", "original_image_base64", "media_type", "box"):
            assert item[field] == one[field]


def test_the_type_is_decided_from_the_bytes_not_from_name_or_declared_type(client: TestClient) -> None:
    data = (CONFORMANCE / "window.dcm").read_bytes()

    honest = client.post(URL, content=data, headers={"content-type": "application/dicom"}).json()
    lying = client.post(URL, files={"file": ("scan.jpg", data, "image/jpeg")}).json()

    assert (honest["width"], honest["original_media_type"]) == (96, "image/png")
    for field in ("heatmap_base64", "original_image_base64", "prediction"):
        assert lying[field] == honest[field]


@pytest.mark.contract("heatmap")
def test_defaults_are_jet_and_four_tenths(client: TestClient) -> None:
    data = encoded(noise((20, 20)))

    assert post(client, data)["heatmap_base64"] == post(client, data, "?colormap=jet&alpha=0.4")["heatmap_base64"]
    assert post(client, data)["heatmap_base64"] != post(client, data, "?colormap=hot")["heatmap_base64"]
    assert post(client, data)["heatmap_base64"] != post(client, data, "?alpha=0.5")["heatmap_base64"]


@pytest.mark.contract("JSON")
def test_json_body_equals_multipart(client: TestClient) -> None:
    data = encoded(noise((20, 20)))
    body = {"image_base64": base64.b64encode(data).decode(), "filename": "scan.png", "colormap": "hot"}

    as_json = client.post(f"{URL}?alpha=0.6", json=body).json()

    as_form = post(client, data, "?alpha=0.6&colormap=hot")
    volatile = {"request_id", "processing_time_ms", "timings_ms"}
    assert {k: v for k, v in as_json.items() if k not in volatile} == {
        k: v for k, v in as_form.items() if k not in volatile
    }


@pytest.mark.contract("options in bodies")
def test_the_query_wins_over_the_json_body(client: TestClient) -> None:
    data = encoded(noise((20, 20)))
    body = {"image_base64": base64.b64encode(data).decode(), "colormap": "hot", "alpha": 0.9}

    answer = client.post(f"{URL}?colormap=viridis", json=body).json()

    assert answer["heatmap_base64"] == post(client, data, "?colormap=viridis&alpha=0.9")["heatmap_base64"]


@pytest.mark.contract("body")
def test_an_image_may_be_the_body(client: TestClient) -> None:
    data = encoded(noise((20, 20)))

    answer = client.post(URL, content=data, headers={"content-type": "image/png"}).json()

    assert answer["filename"] == "unknown"
    assert answer["heatmap_base64"] == post(client, data)["heatmap_base64"]


@pytest.mark.contract("accept")
@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("application/json;q=0.5, image/png", "image/png"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/json, image/png;q=0.9", "application/json"),
        ("image/png;q=0", "application/json"),
        ("text/html", "application/json"),
        ("image/png;q=high", "application/json"),
        ("image/jpeg", "image/jpeg"),
        ("image/webp", "image/webp"),
        ("image/jpeg;q=0.5, image/webp;q=0.7, application/json;q=0.6", "image/webp"),
        ("image/gif", "application/json"),
    ],
)
def test_accept_decides_the_media_type_of_the_response(client: TestClient, accept: str, media_type: str) -> None:
    files = {"file": ("a.png", encoded(noise((8, 8))))}

    response = client.post(URL, files=files, headers={"accept": accept})

    assert response.status_code == 200
    assert response.headers["content-type"] == media_type


@pytest.mark.contract("accept", "format")
@pytest.mark.parametrize(
    ("accept", "query", "form"),
    [
        ("image/jpeg", "", "jpeg"),
        ("image/webp", "format=jpeg", "webp"),  # the type in the header counts
        ("image/*", "format=jpeg", "jpeg"),  # image/* leaves it to the option
        ("image/*", "", "png"),
    ],
)
def test_the_overlay_itself_is_served_in_every_format(client: TestClient, accept: str, query: str, form: str) -> None:
    data = encoded(noise((20, 20)))

    answer = client.post(f"{URL}?{query}", files={"file": ("a.png", data)}, headers={"accept": accept})

    assert answer.headers["content-type"] == f"image/{form}"
    assert answer.content == base64.b64decode(post(client, data, f"?format={form}")["heatmap_base64"])


@pytest.mark.contract("accept")
def test_the_png_response_is_the_overlay_with_facts_in_headers(client: TestClient) -> None:
    data = encoded(noise((20, 20)))

    response = client.post(URL, files={"file": ("a.png", data)}, headers={"accept": "image/png"})

    answer = post(client, data)
    assert response.content == base64.b64decode(answer["heatmap_base64"])
    assert response.headers["x-heatlens-label"] == "BRIGHT"
    assert response.headers["x-heatlens-model"] == answer["model"]["sha256"]
    assert float(response.headers["x-heatlens-probability"]) == pytest.approx(
        answer["prediction"]["probability"], abs=1e-6
    )


@pytest.mark.contract("original")
def test_an_original_that_cannot_be_passed_through_is_a_png_of_the_decoded_image(client: TestClient) -> None:
    deep = np.array([[1000, 2000], [3000, 4000]], np.uint16)

    answer = post(client, encoded(Image.fromarray(deep)))

    assert answer["original_media_type"] == "image/png"
    assert np.asarray(picture(answer["original_image_base64"])).tolist() == [[0, 85], [170, 255]]


@pytest.mark.contract("one pixel")
def test_one_pixel_is_an_image(client: TestClient) -> None:
    answer = post(client, encoded(Image.new("RGB", (1, 1), (200, 200, 200))))

    assert (answer["width"], answer["height"]) == (1, 1)
    assert picture(answer["heatmap_base64"]).size == (1, 1)


def blob(width: int, height: int, x: float, y: float) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    near = (columns - x * width) ** 2 + (rows - y * height) ** 2 < (0.08 * height) ** 2
    return Image.fromarray(np.where(near, 255, 30).astype(np.uint8))


def hottest(heatmap: Image.Image, original: Image.Image, alpha: float) -> tuple[float, float]:
    """Return where a viridis overlay is hottest, as fractions: its red and green, less the original's, peak there."""
    heat = np.asarray(heatmap, np.float32) - (1 - alpha) * np.asarray(original.convert("RGB"), np.float32)
    score = heat[..., 0] + heat[..., 1]
    row, column = np.unravel_index(int(score.argmax()), score.shape)
    return float(column) / score.shape[1], float(row) / score.shape[0]


@pytest.mark.parametrize("place", [(0.2, 0.3), (0.85, 0.7)])
def test_the_heat_of_a_three_to_one_image_lies_on_its_blob(client: TestClient, place: tuple[float, float]) -> None:
    image = blob(384, 128, *place)

    answer = post(client, encoded(image), "?colormap=viridis&alpha=0.9")

    peak = hottest(picture(answer["heatmap_base64"]), image, 0.9)
    assert peak == pytest.approx(place, abs=0.06)


@pytest.mark.contract("geometry")
def test_heat_is_drawn_only_inside_the_crop_of_the_model(make_client: MakeClient, tmp_path: Any) -> None:  # noqa: ANN401
    cropping = Preprocess(resize=SIDE, crop=(SIDE, SIDE), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    folder = write_tiny_model(tmp_path / "cropping", preprocess=cropping)
    image = blob(384, 128, 0.6, 0.5)

    answer = post(make_client(model_dir=folder), encoded(image), "?colormap=viridis&alpha=0.9")

    assert answer["box"] == [128, 0, 256, 128]
    drawn = np.asarray(picture(answer["heatmap_base64"]))
    outside = np.concatenate([drawn[:, :128], drawn[:, 256:]], axis=1)
    assert (outside == outside[0, 0]).all()
    assert hottest(picture(answer["heatmap_base64"]), image, 0.9) == pytest.approx((0.6, 0.5), abs=0.06)
