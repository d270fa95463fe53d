"""The SageMaker endpoint: its two routes, with the API's responses."""

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from functions.endpoint import serve
from functions.endpoint.app import create_app
from heatlens.errors import GenerationFailed
from heatlens_web.app import create_app as create_api
from heatlens_web.settings import ServerSettings
from tests.support.dicom_studies import radiograph
from tests.support.emulator import free_port
from tests.unit.heatlens_web.test_related import parts

CONFORMANCE = Path(__file__).parents[2] / "contract" / "conformance"
IMAGE = (CONFORMANCE / "rgb.jpg").read_bytes()
EVERYTHING = "colormap=hot&alpha=0.5&include=overlay,original,map"
IMAGES = ["grey16.png", "cmyk.jpg", "rgb.webp", "rgb.bmp", "two-frames.tif", "one-pixel.png"]


@pytest.fixture(scope="module")
def endpoint(tiny_folder: Path) -> Iterator[TestClient]:
    app = create_app(ServerSettings(model_dir=tiny_folder))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def api(tiny_folder: Path) -> Iterator[TestClient]:
    with TestClient(create_api(ServerSettings(model_dir=tiny_folder), deployment="server")) as client:
        yield client


@pytest.fixture
def empty(tmp_path: Path) -> TestClient:
    """An endpoint without a model."""
    return TestClient(create_app(ServerSettings(model_dir=tmp_path / "secret")), raise_server_exceptions=False)


def invoke(client: TestClient, body: bytes, attributes: str = "", **headers: str) -> Any:  # noqa: ANN401 - httpx
    """Send an invocation as SageMaker does; keywords are further headers, with underscores for hyphens."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"X-Amzn-SageMaker-Custom-Attributes": attributes} if attributes else {}
    return client.post("/invocations", content=body, headers={"content-type": "image/jpeg"} | named | sent)


def products(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return {k: v for k, v in body.items() if k not in {"request_id", "processing_time_ms", "timings_ms"}}


@pytest.mark.contract("SageMaker")
def test_an_endpoint_with_a_model_answers_a_ping(endpoint: TestClient) -> None:
    answer = endpoint.get("/ping")

    assert (answer.status_code, answer.json()) == (200, {})


def test_an_endpoint_without_a_model_reports_it_to_a_ping_and_to_a_request(empty: TestClient) -> None:
    for answer in (empty.get("/ping"), invoke(empty, IMAGE)):
        assert (answer.status_code, answer.json()["code"]) == (503, "model.unavailable")
        assert answer.headers["retry-after"] == "30"
        assert "card.json" in answer.json()["detail"]
        assert "/" not in answer.json()["detail"]


@pytest.mark.contract("same bytes", "SageMaker")
@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("kind", ["image/png", "image/anything; q=1", "application/octet-stream", "application/dicom"])
def test_an_image_as_the_body_gets_the_apis_response(
    endpoint: TestClient, api: TestClient, name: str, kind: str
) -> None:
    data = (CONFORMANCE / name).read_bytes()

    answer = invoke(endpoint, data, EVERYTHING, content_type=kind)

    expected = api.post(f"/api/inference/heatmap?{EVERYTHING}", content=data, headers={"content-type": "image/png"})
    assert products(answer) == products(expected)
    assert answer.json()["map"]["data_base64"]
    assert base64.b64decode(answer.json()["heatmap_base64"]).startswith(b"\x89PNG")


def test_json_carries_an_image_too(endpoint: TestClient) -> None:
    body = {"image_base64": base64.b64encode(IMAGE).decode(), "colormap": "viridis", "include": ["overlay"]}

    answer = invoke(endpoint, json.dumps(body).encode(), content_type="application/json")

    assert products(answer) == products(invoke(endpoint, IMAGE, "colormap=viridis&include=overlay"))


def test_custom_attributes_win_over_the_body(endpoint: TestClient) -> None:
    body = {"image_base64": base64.b64encode(IMAGE).decode(), "colormap": "viridis", "alpha": 0.9}

    answer = invoke(endpoint, json.dumps(body).encode(), "colormap=hot", content_type="application/json")

    assert products(answer) == products(invoke(endpoint, IMAGE, "colormap=hot&alpha=0.9"))
    assert products(answer) != products(invoke(endpoint, IMAGE, "colormap=viridis&alpha=0.9"))


def test_without_attributes_the_options_are_the_apis(endpoint: TestClient, api: TestClient) -> None:
    expected = api.post("/api/inference/heatmap", content=IMAGE, headers={"content-type": "image/jpeg"})

    assert products(invoke(endpoint, IMAGE)) == products(expected)


@pytest.mark.parametrize("written", ["include=map,overlay", "include=map&include=overlay", "include=map%2Coverlay"])
def test_include_accepts_every_way_to_write_a_list(endpoint: TestClient, written: str) -> None:
    answer = products(invoke(endpoint, IMAGE, written))

    assert answer["map"]
    assert answer["heatmap_base64"]
    assert answer["original_image_base64"] is None


def test_accept_asks_for_the_overlay_itself(endpoint: TestClient) -> None:
    answer = invoke(endpoint, IMAGE, "colormap=hot&include=map", accept="image/png")

    overlay = products(invoke(endpoint, IMAGE, "colormap=hot"))["heatmap_base64"]
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == base64.b64decode(overlay)


@pytest.mark.parametrize(
    ("attributes", "place"),
    [
        ("colormap=pink", "colormap"),
        ("alpha=0", "alpha"),
        ("format=gif", "format"),
        ("window=40", "window"),
        ("strip_original=7", "strip_original"),
        ("alpha=nan", "alpha"),
        ("alpha=", "alpha"),
        ("include=everything", "include.0"),
        ("include=", "include.0"),
        ("colormap=hot&colormap=pink", "colormap"),
        ("colormap=hot&&", ""),
    ],
)
def test_errors_name_invalid_attributes(endpoint: TestClient, attributes: str, place: str) -> None:
    answer = invoke(endpoint, IMAGE, attributes)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "request.invalid")
    assert answer.headers["content-type"] == "application/problem+json"
    located = ["header", "x-amzn-sagemaker-custom-attributes", *place.split(".")]
    assert [str(each) for each in problem["errors"][0]["loc"]] == [each for each in located if each]


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "image/png", 400, "input.empty"),
        (b"", "application/octet-stream", 400, "input.empty"),
        (b"text", "image/png", 400, "input.unsupported"),
        (IMAGE[:500], "image/jpeg", 400, "input.unreadable"),
        (IMAGE, "text/plain", 415, "request.unsupported_content_type"),
        (IMAGE, "application/json", 400, "request.malformed"),
        (b"{}", "application/json", 422, "request.invalid"),
        (b'{"image_base64": "%"}', "application/json", 400, "input.bad_base64"),
        (b"", "application/json", 400, "request.malformed"),
    ],
)
def test_bad_input_is_a_problem_and_the_next_image_is_answered(
    endpoint: TestClient, body: bytes, kind: str, status: int, code: str
) -> None:
    answer = invoke(endpoint, body, content_type=kind)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert invoke(endpoint, IMAGE).status_code == 200


def test_the_limits_are_those_of_the_plain_server(tiny_folder: Path) -> None:
    state = create_app(ServerSettings(model_dir=tiny_folder)).state.heatlens
    assert state.limits.file_bytes == 50 * 1024 * 1024

    small = TestClient(create_app(ServerSettings(model_dir=tiny_folder, file_bytes=len(IMAGE) - 1)))
    assert invoke(small, IMAGE).json()["code"] == "limit.file_bytes"
    exact = TestClient(create_app(ServerSettings(model_dir=tiny_folder, file_bytes=len(IMAGE))))
    assert invoke(exact, IMAGE).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/openapi.json"), ("GET", "/invocations")])
def test_other_addresses_are_not_served(endpoint: TestClient, method: str, path: str) -> None:
    answer = endpoint.request(method, path)

    assert answer.status_code in (404, 405)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_ping_is_answered_while_images_are_explained(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> list[GenerationFailed]:
        began.set()
        assert go_on.wait(5)
        return [GenerationFailed("never mind")]

    monkeypatch.setattr("heatlens_web.state.explain", slow)
    client = TestClient(create_app(ServerSettings(model_dir=tiny_folder, concurrency=1)), raise_server_exceptions=False)
    with client:  # one event loop for both requests
        asking = threading.Thread(target=invoke, args=(client, IMAGE))
        asking.start()
        assert began.wait(20)
        try:
            assert client.get("/ping").status_code == 200
            assert asking.is_alive()
        finally:
            go_on.set()
            asking.join()


def test_listens_on_all_addresses_by_default_at_sagemakers_port() -> None:
    port = free_port()

    with serve.listen(ServerSettings(port=port)) as listener:
        assert listener.getsockname() == ("0.0.0.0", port)
    assert ServerSettings().port == 8080


def test_an_invalid_setting_ends_the_process_with_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATLENS_CONCURRENCY", "0")

    with pytest.raises(SystemExit, match="HEATLENS_CONCURRENCY"):
        serve.main()


@pytest.mark.contract("SageMaker", "DICOM objects")
def test_dicom_objects_are_the_apis(endpoint: TestClient, api: TestClient) -> None:
    scan, url = radiograph(), "/api/inference/heatmap?dicom=sc,seg"
    expected = [base64.b64decode(each["data_base64"]) for each in api.post(url, files={"file": scan}).json()["dicom"]]

    one = invoke(endpoint, scan, content_type="application/dicom", accept="application/dicom")
    several = invoke(endpoint, scan, "dicom=sc,seg", content_type="application/dicom", accept="application/dicom")
    in_json = invoke(endpoint, scan, "format=dicom&dicom=sc,seg", content_type="application/dicom")

    assert (one.status_code, one.headers["content-type"], one.content) == (200, "application/dicom", expected[0])
    assert [data for _, data in parts(several.content, several.headers["content-type"])] == expected
    assert [base64.b64decode(each["data_base64"]) for each in in_json.json()["dicom"]] == expected


@pytest.mark.parametrize(
    ("attributes", "body", "accept", "status", "code"),
    [
        ("dicom=sc", IMAGE, "*/*", 400, "input.dicom"),
        ("dicom=pm", radiograph(), "*/*", 400, "input.dicom"),
        ("dicom=tiff", IMAGE, "*/*", 422, "request.invalid"),
        ("dicom=sc&format=webp", radiograph(), "*/*", 422, "request.invalid"),
        ("", radiograph(), "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90", 406, "request.not_acceptable"),
    ],
)
def test_objects_that_cannot_be_written_are_refused(
    endpoint: TestClient, attributes: str, body: bytes, accept: str, status: int, code: str
) -> None:
    answer = invoke(endpoint, body, attributes, accept=accept, content_type="application/dicom")

    assert (answer.status_code, answer.json()["code"]) == (status, code)
