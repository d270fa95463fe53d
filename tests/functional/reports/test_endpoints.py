"""What clients of SageMaker and KServe send by habit: situations from public reports."""

import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from functions.endpoint import attributes
from functions.endpoint.app import create_app
from functions.endpoint.attributes import CUSTOM_ATTRIBUTES
from heatlens.settings import MIB
from heatlens_web.app import create_app as create_api
from heatlens_web.rate_limited_log import RateLimitedLog
from heatlens_web.settings import ServerSettings
from tests.support.images import encoded, noise

IMAGE = encoded(noise((30, 20)))
TEXT = base64.b64encode(IMAGE).decode()


@pytest.fixture(scope="module")
def endpoint(tiny_folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app(ServerSettings(model_dir=tiny_folder)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def server(tiny_folder: Path) -> Iterator[TestClient]:
    app = create_api(ServerSettings(model_dir=tiny_folder), deployment="server")
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def invoke(client: TestClient, content: bytes | Any, **headers: str) -> Any:  # noqa: ANN401 - httpx
    """Send an invocation: bytes as an image, anything else as JSON."""
    kind, body = ("image/png", content) if isinstance(content, bytes) else ("application/json", json.dumps(content))
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/invocations", content=body, headers={"content-type": kind} | sent)


def products(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return {k: v for k, v in body.items() if k not in {"request_id", "processing_time_ms", "timings_ms"}}


def problem(answer: Any, status: int, code: str) -> Any:  # noqa: ANN401 - httpx
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return answer.json()


def test_the_platforms_own_image_type_is_an_image(endpoint: TestClient, server: TestClient) -> None:
    answer = invoke(endpoint, IMAGE, content_type="application/x-image")
    of_api = server.post("/api/inference/heatmap", content=IMAGE, headers={"content-type": "application/x-image"})

    assert products(answer) == products(of_api) == products(invoke(endpoint, IMAGE))


FORMS: dict[str, Any] = {
    "Hugging Face": {"inputs": TEXT},
    "Hugging Face's list": {"inputs": [TEXT]},
    "TensorFlow Serving": {"instances": [{"b64": TEXT}]},
    "TensorFlow Serving with a named input": {"instances": [{"image_bytes": {"b64": TEXT}}]},
    "TorchServe": {"data": TEXT},
    "TorchServe's other key": {"body": TEXT},
    "TorchServe behind KServe": {"instances": [{"data": TEXT}]},
    "a list of texts": {"instances": [TEXT]},
    "an input by name": {"inputs": {"image": TEXT}},
}


@pytest.mark.parametrize("body", FORMS.values(), ids=list(FORMS))
@pytest.mark.parametrize("options", [{"colormap": "hot"}, {"parameters": {"colormap": "hot"}}])
def test_an_image_in_another_servers_form_is_read(
    endpoint: TestClient, body: dict[str, Any], options: dict[str, Any]
) -> None:
    assert products(invoke(endpoint, body | options)) == products(
        invoke(endpoint, {"image_base64": TEXT, "colormap": "hot"})
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"instances": [{"b64": TEXT}, {"b64": TEXT}]}, "instances has 2 images: send one in each request"),
        ({"instances": []}, "instances has 0 images: send one in each request"),
        ({"inputs": 1}, "inputs has no image: write its base64 as a text, or under 'b64'"),
        ({"inputs": [[0, 0], [0, 0]]}, "inputs has 2 images: send one in each request"),
        ({"instances": [{"b64": TEXT, "label": 1}]}, "instances has no image"),
        ({"inputs": TEXT, "colourmap": "hot"}, "unknown name; did you mean 'colormap'?"),
        ({"inputs": TEXT, "parameters": {"colourmap": "hot"}}, "unknown name; did you mean 'colormap'?"),
        ({"inputs": TEXT, "data": TEXT}, "unknown name"),
        ({"inputs": TEXT, "parameters": 1}, "unknown name"),
        ([TEXT], "Input should be an object"),
    ],
)
def test_a_form_that_is_not_plain_is_refused_by_name(endpoint: TestClient, body: object, message: str) -> None:
    error = problem(invoke(endpoint, body), 422, "request.invalid")

    assert message in error["errors"][0]["msg"]
    assert error["errors"][0]["loc"][0] == "body"


@pytest.mark.parametrize("instance", [TEXT, {"b64": TEXT}, {"data": TEXT}, {"image_bytes": {"b64": TEXT}, "key": "1"}])
@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_kserves_instances_have_the_same_forms(server: TestClient, verb: str, instance: object) -> None:
    url = f"/v1/models/tiny:{verb}"
    expected = server.post(url, json={"instances": [{"image_bytes": {"b64": TEXT}}]}).json()

    answer = server.post(url, json={"instances": [instance]})

    assert answer.status_code == 200, answer.text
    assert [each["label"] for each in map(_prediction, answer.json()["predictions"])] == [
        each["label"] for each in map(_prediction, expected["predictions"])
    ]


def _prediction(entry: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = entry.get("prediction", entry)
    return found


OTHERS = [
    "c000b4f9-df62-4c85-a0bf-7c525f9104a4",  # the example in the platform's own documentation
    "tfs-model-name=other,tfs-method=predict",  # TensorFlow Serving's container
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "traceparent=00-4bf92f35&tracestate=vendor:1",
    '{"trace": "1"}',
    "Root=1-67891233-abcdef012345678912345678;Sampled=1",
    "eula=true",
    "&&",
]


@pytest.mark.parametrize("text", OTHERS)
def test_another_programs_attributes_are_ignored_with_a_line_in_the_log(
    endpoint: TestClient, text: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("ignored")
    monkeypatch.setattr(attributes, "_ignored", RateLimitedLog(log, "ignored", level=logging.WARNING))

    answer = invoke(endpoint, IMAGE, **{CUSTOM_ATTRIBUTES: text})

    assert products(answer) == products(invoke(endpoint, IMAGE))
    assert [record.levelname for record in caplog.records if record.name == "ignored"] == ["WARNING"]
    assert text not in caplog.text


@pytest.mark.parametrize(
    "text",
    ["colourmap=hot", "trace=1&colormap=hot", "colormap:hot", "trace=1;colormap=hot", '{"colormap": "hot"}', "Alpha=1"],
)
def test_attributes_that_mean_an_option_are_not_ignored(endpoint: TestClient, text: str) -> None:
    error = problem(invoke(endpoint, IMAGE, **{CUSTOM_ATTRIBUTES: text}), 422, "request.invalid")

    assert error["errors"][0]["loc"][:2] == ["header", CUSTOM_ATTRIBUTES]


@pytest.mark.provokes("request.not_acceptable")
@pytest.mark.parametrize(
    "accept", ["text/csv", "application/x-npy", "application/jsonlines", "image/gif", "application/json;q=0", "text/*"]
)
def test_an_accept_header_that_cannot_be_met_is_406_before_the_image_is_read(endpoint: TestClient, accept: str) -> None:
    error = problem(invoke(endpoint, b"no image", accept=accept), 406, "request.not_acceptable")

    assert "application/json, image/png, image/jpeg, image/webp" in error["detail"]


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "text/csv, application/*;q=0.1", "image/*"])
def test_an_accept_header_that_can_be_met_is(endpoint: TestClient, accept: str) -> None:
    assert invoke(endpoint, IMAGE, accept=accept).status_code == 200


@pytest.mark.parametrize(
    ("settings", "concurrent", "megabytes"),
    [
        ({}, 2, 50),
        ({"file_bytes": 6 * MIB}, 16, 6),
        ({"file_bytes": MIB // 2}, 32, 1),
        ({"file_bytes": 900 * MIB}, 1, 100),
    ],
)
def test_a_batch_transform_is_told_what_the_endpoint_takes(
    tiny_folder: Path, settings: dict[str, int], concurrent: int, megabytes: int
) -> None:
    client = TestClient(create_app(ServerSettings.model_validate({"model_dir": tiny_folder} | settings)))

    answer = client.get("/execution-parameters").json()

    # The platform refuses a job whose records at once have more than 100 MB.
    assert answer == {
        "MaxConcurrentTransforms": concurrent,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": megabytes,
    }
    assert concurrent * megabytes <= 100
