"""KServe's V1 protocol on the plain server."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.functional.api.test_options import PIXELS
from tests.support.images import encoded
from tests.support.tiny import write_tiny_model

URL = "/v1/models"
DATA = encoded(Image.fromarray(PIXELS))
INSTANCE = {"image_bytes": {"b64": base64.b64encode(DATA).decode()}}
BAD = {"image_bytes": {"b64": base64.b64encode(b"text").decode()}}


@pytest.fixture(scope="module")
def client(colours_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    models = tmp_path_factory.mktemp("models")
    (write_tiny_model(models / "damaged") / "tail.onnx").write_bytes(b"altered")
    settings = ServerSettings(models_dir=models, model_dir=colours_folder, files=3)
    with TestClient(create_app(settings, deployment="server"), raise_server_exceptions=False) as client:
        yield client


def post(client: TestClient, verb: str, body: Any, query: str = "", name: str = "colours") -> Any:  # noqa: ANN401
    return client.post(f"{URL}/{name}:{verb}?{query}", json=body)


@pytest.mark.contract("KServe")
@pytest.mark.provokes("model.not_found")
def test_lists_models_and_their_readiness(client: TestClient) -> None:
    assert client.get(URL).json() == {"models": ["colours", "damaged"]}
    assert client.get(f"{URL}/colours").json() == {"name": "colours", "ready": True}
    problem(client.get(f"{URL}/damaged"), 503, "model.unavailable")
    assert problem(client.get(f"{URL}/other"), 404, "model.not_found")["detail"] == (
        "no model 'other' here: colours, damaged"
    )


@pytest.mark.contract("KServe")
def test_predictions_are_those_of_the_api(client: TestClient) -> None:
    body = post(client, "predict", {"instances": [INSTANCE, INSTANCE]}).json()

    expected = client.post("/api/inference/predict", content=DATA, headers={"content-type": "image/png"}).json()
    assert len(body["predictions"]) == 2
    for each in body["predictions"]:
        assert {n: each[n] for n in ("classes", "prediction", "width", "height")} == {
            n: expected[n] for n in ("classes", "prediction", "width", "height")
        }
    assert body["model"] == expected["model"]


@pytest.mark.contract("KServe")
@pytest.mark.parametrize("place", ["query", "body"])
def test_explanations_are_those_of_the_api(client: TestClient, place: str) -> None:
    query = "method=layercam&layer=patches&target=RED&include=map,overlay"
    options = {"method": "layercam", "layer": "patches", "target": "RED", "include": ["map", "overlay"]}
    inside = {"instances": [INSTANCE]} | (options if place == "body" else {})

    body = post(client, "explain", inside, query if place == "query" else "").json()

    raw = {"content-type": "image/png"}
    expected = client.post(f"/api/inference/heatmap?{query}", content=DATA, headers=raw).json()
    [explanation], [prediction] = body["explanations"], body["predictions"]
    others = {"success", "filename", "processing_time_ms", "timings_ms", "model", "request_id"}
    assert {k: v for k, v in explanation.items() if k != "timings_ms"} == {
        k: v for k, v in expected.items() if k not in others
    }
    assert prediction == expected["prediction"]
    assert body["model"] == expected["model"]


def test_inputs_are_read_as_instances_and_other_keys_ignored(client: TestClient) -> None:
    body = {"inputs": [INSTANCE | {"key": "1"}], "signature_name": "serving_default"}

    assert len(post(client, "predict", body).json()["predictions"]) == 1


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_the_model_is_that_of_the_address_whatever_the_body_names(client: TestClient, verb: str) -> None:
    assert post(client, verb, {"instances": [INSTANCE], "model": "damaged"}).json()["model"]["name"] == "colours"


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_errors_of_bad_requests(client: TestClient, verb: str) -> None:
    problem(post(client, verb, {"instances": [INSTANCE]}, name="other"), 404, "model.not_found")
    problem(post(client, verb, {"instances": [INSTANCE]}, name="damaged"), 503, "model.unavailable")
    bodies: list[Any] = [{}, {"instances": []}, {"instances": [{}]}, {"instances": [{"image_bytes": 1}]}, []]
    for body in bodies:
        assert problem(post(client, verb, body), 422, "request.invalid")["errors"][0]["loc"][0] == "body"
    problem(post(client, verb, {"instances": [INSTANCE] * 4}), 400, "request.too_many_files")
    problem(client.post(f"{URL}/colours:{verb}", content=DATA, headers={"content-type": "image/png"}), 415,
            "request.unsupported_content_type")  # fmt: skip
    problem(client.post(f"{URL}/colours:{verb}", content=b"{", headers={"content-type": "application/json"}), 400,
            "request.malformed")  # fmt: skip
    problem(client.post(f"{URL}/colours:classify", json={}), 404, "http.not_found")
    response = client.get(f"{URL}/colours:{verb}")
    problem(response, 405, "http.method_not_allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_the_error_names_the_first_instance_that_fails(client: TestClient, verb: str) -> None:
    error = problem(post(client, verb, {"instances": [INSTANCE, BAD, BAD]}), 400, "input.unsupported")

    assert error["detail"].startswith("instance 1: the bytes are not an image")

    garbled = {"image_bytes": {"b64": "%"}}
    error = problem(post(client, verb, {"instances": [garbled]}), 400, "input.bad_base64")
    assert error["detail"].startswith("instance 0: the image is not base64")  # whichever field it was in


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_an_instance_for_which_there_is_no_memory_is_named(
    client: TestClient, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_given: object, **_options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("heatlens_web.decode_pool.DecodePool.decode", decode)
    error = problem(post(client, verb, {"instances": [INSTANCE]}), 503, "memory")

    assert error["detail"].startswith("instance 0: there was not enough memory")


def test_the_error_of_an_invalid_option_has_its_location(client: TestClient) -> None:
    by_body = problem(post(client, "explain", {"instances": [INSTANCE], "layer": "no"}), 422, "request.invalid")
    by_query = problem(post(client, "explain", {"instances": [INSTANCE]}, "layer=no"), 422, "request.invalid")

    assert (by_body["errors"][0]["loc"], by_query["errors"][0]["loc"]) == (["body", "layer"], ["query", "layer"])


def test_lambda_does_not_serve_kserve_routes(colours_folder: Path) -> None:
    client = TestClient(create_app(ServerSettings(model_dir=colours_folder), deployment="lambda"))

    assert client.get(URL).status_code == 404
