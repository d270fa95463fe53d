"""Bad input: each kind has its own error, affects no other request, and leaves nothing behind."""

import base64
import io
import logging
import os
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from heatlens.card import Preprocess
from heatlens.engines.openvino import OpenVinoEngine
from heatlens.errors import GenerationFailed
from tests.functional.conftest import MakeClient
from tests.support.coroutines import awaited
from tests.support.images import encoded, noise
from tests.support.paths import ROOT
from tests.support.tiny import write_tiny_model
from tests.unit.heatlens.input.test_dicom_hostile import MARKER, marked

WINDOW = "a window is centre,width, such as 40,400"
URL = "/api/inference/heatmap"
BATCH = "/api/inference/heatmap-batch"
CONFORMANCE = Path(__file__).parents[2] / "contract" / "conformance"
GOOD = encoded(noise((24, 24)))


@pytest.fixture(autouse=True)
def nothing_is_left_and_nothing_else_fails(
    client: TestClient, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """After every test here: no temporary file is left, and a good image gets the same response as before."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = send(client, GOOD).json()["heatmap_base64"]
    yield
    assert send(client, GOOD).json()["heatmap_base64"] == before
    assert list(folder.iterdir()) == []


def send(client: TestClient, data: bytes, query: str = "", name: str = "scan.png") -> Any:  # noqa: ANN401 - a response
    return client.post(f"{URL}{query}", files={"file": (name, data)})


def problem(response: Any, status: int, code: str) -> dict[str, Any]:  # noqa: ANN401 - a response
    """Assert that a response is a problem, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["type"] == f"urn:heatlens:error:{code}"
    assert body["request_id"] == response.headers["x-request-id"]
    assert isinstance(body["detail"], str)
    assert "Traceback" not in response.text
    assert str(ROOT) not in response.text
    return body


@pytest.mark.contract("400 image")
@pytest.mark.provokes("input.empty", "input.unsupported", "input.unreadable")
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("empty.png", "input.empty"),
        ("text.png", "input.unsupported"),
        ("truncated.jpg", "input.unreadable"),
        ("truncated.png", "input.unreadable"),
    ],
)
def test_rejects_a_file_that_is_not_a_whole_image(client: TestClient, name: str, code: str) -> None:
    problem(send(client, (CONFORMANCE / name).read_bytes(), name=name), 400, code)


@pytest.mark.contract("while reading")
@pytest.mark.provokes("limit.image_pixels")
def test_rejects_a_decompression_bomb_before_decoding(client: TestClient) -> None:
    body = problem(send(client, (CONFORMANCE / "bomb.png").read_bytes()), 413, "limit.image_pixels")

    assert body["detail"] == "the image is over the limit of 25 megapixels per image"


def test_a_decompression_bomb_takes_no_memory(tiny_folder: Path) -> None:
    program = f"""
import resource
from starlette.testclient import TestClient
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
client = TestClient(create_app(ServerSettings(), deployment="server"))
good, bomb = open({str(CONFORMANCE / "rgb8.png")!r}, "rb").read(), open({str(CONFORMANCE / "bomb.png")!r}, "rb").read()
assert client.post({URL!r}, files={{"file": good}}).status_code == 200
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert client.post({URL!r}, files={{"file": bomb}}).status_code == 413
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    environment = os.environ | {"HEATLENS_MODEL_DIR": str(tiny_folder)}
    grown = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True)

    assert int(grown.stdout) < 20_000  # KiB; decoded it would be 50,000 as bits and 400,000 as bytes


@pytest.mark.provokes("limit.file_bytes")
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_file_limit_is_exact(make_client: MakeClient, more: int) -> None:
    limit = len(GOOD) + 1
    response = send(make_client(file_bytes=limit), GOOD + bytes(1 + more))

    if more > 0:
        body = problem(response, 413, "limit.file_bytes")
        assert body["detail"] == f"the file is over the limit of {limit:,} bytes per file"
    else:
        assert response.status_code == 200


@pytest.mark.provokes("limit.body_bytes")
def test_the_body_limit_applies_with_and_without_a_declared_length(make_client: MakeClient) -> None:
    client = make_client(body_bytes=1000)
    headers = {"content-type": "image/png"}

    declared = client.post(URL, content=bytes(1001), headers=headers)
    streamed = client.post(URL, content=(bytes(100) for _ in range(11)), headers=headers)

    assert client.post(URL, content=bytes(1000), headers=headers).status_code == 400  # read, but not an image
    for response in (declared, streamed):
        body = problem(response, 413, "limit.body_bytes")
        assert body["detail"] == "the request body is over the limit of 1,000 bytes"


@pytest.mark.contract("422")
@pytest.mark.provokes("request.invalid")
@pytest.mark.parametrize("query", ["alpha=0.05", "alpha=0.95", "alpha=NaN", "alpha=inf", "alpha=x", "alpha="])
def test_rejects_alpha_out_of_range(client: TestClient, query: str) -> None:
    body = problem(send(client, GOOD, f"?{query}"), 422, "request.invalid")

    assert [error["loc"] for error in body["errors"]] == [["query", "alpha"]]
    assert set(body["errors"][0]) == {"loc", "msg", "type"}


@pytest.mark.parametrize("value", ["0.1", "0.9"])
def test_accepts_alpha_at_the_ends_of_its_range(client: TestClient, value: str) -> None:
    assert send(client, GOOD, f"?alpha={value}").status_code == 200


@pytest.mark.contract("422")
@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("colormap", "rainbow", "'jet', 'hot'"),
        ("colormap", "JET", "'jet', 'hot'"),
        ("include", "everything", "'overlay', 'original', 'heatmap', 'map', 'regions' or 'faithfulness'"),
        ("format", "gif", "'png', 'jpeg', 'webp' or 'dicom'"),
        ("format", "PNG", "'png', 'jpeg', 'webp' or 'dicom'"),
        ("original", "jpeg", "'auto' or 'png'"),
        ("strip_original", "perhaps", "a valid boolean"),
        ("window", "40", WINDOW),
        ("window", "40,-1", WINDOW),
        ("window", "40,nan", WINDOW),
        ("window", "40,400,4", WINDOW),
        ("window", "1e999,2", WINDOW),
        ("window", "", WINDOW),
    ],
)
def test_the_error_of_an_unknown_value_lists_the_known_ones(
    client: TestClient, name: str, value: str, known: str
) -> None:
    body = problem(send(client, GOOD, f"?{name}={value}"), 422, "request.invalid")

    assert body["errors"][0]["loc"][:2] == ["query", name]
    assert known in body["detail"]


@pytest.mark.contract("422")
@pytest.mark.parametrize(("url", "field"), [(URL, "file"), (BATCH, "files")])
def test_rejects_a_request_without_a_file(client: TestClient, url: str, field: str) -> None:
    for response in (client.post(url), client.post(url, files={"other": ("a.png", GOOD)})):
        body = problem(response, 422, "request.invalid")
        assert body["errors"][0] == {"loc": ["body", field], "msg": "Field required", "type": "missing"}


def test_rejects_two_files_on_the_single_image_route(client: TestClient) -> None:
    response = client.post(URL, files=[("file", ("a.png", GOOD)), ("file", ("b.png", GOOD))])

    problem(response, 400, "request.too_many_files")


@pytest.mark.contract("batch", "400 files")
@pytest.mark.provokes("request.too_many_files")
@pytest.mark.parametrize("count", [50, 51])
def test_accepts_50_files_and_rejects_51(client: TestClient, count: int) -> None:
    tiny = encoded(Image.new("L", (1, 1)))
    as_form = client.post(BATCH, files=[("files", (f"{index}.png", tiny)) for index in range(count)])
    as_json = client.post(BATCH, json={"images": [{"image_base64": base64.b64encode(tiny).decode()}] * count})

    for response in (as_form, as_json):
        if count == 50:
            assert response.status_code == 200
            assert response.json()["succeeded"] == 50
        else:
            body = problem(response, 400, "request.too_many_files")
            assert body["detail"].startswith("more than 50 ")


@pytest.mark.contract("filename")
def test_a_missing_filename_is_reported_as_unknown(client: TestClient) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + GOOD + b"\r\n--x--\r\n"

    response = client.post(URL, content=body, headers={"content-type": "multipart/form-data; boundary=x"})

    assert response.json()["filename"] == "unknown"


@pytest.mark.contract("filename")
@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\scan.png", "Müller, Jürgen.png", "a\tb.png", "a" * 3000])
def test_a_filename_is_only_echoed(client: TestClient, name: str) -> None:
    body = {"image_base64": base64.b64encode(GOOD).decode(), "filename": name}

    assert client.post(URL, json=body).json()["filename"] == name


def test_a_path_as_filename_is_echoed_from_a_form_too(client: TestClient) -> None:
    assert send(client, GOOD, name="../../etc/passwd").json()["filename"] == "../../etc/passwd"


@pytest.mark.contract("words of a file")
def test_a_filename_is_in_no_log(
    client: TestClient,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError

    with caplog.at_level(logging.DEBUG):
        for data in (GOOD, b"", b"text", GOOD[:-30]):
            send(client, data, name="Lovelace, Ada.png")
        client.post(BATCH, files=[("files", ("Lovelace, Ada.png", b"text"))])
        monkeypatch.setattr(OpenVinoEngine, "trunk", broken)
        problem(send(client, GOOD, name="Lovelace, Ada.png"), 500, "generation.failed")
        monkeypatch.undo()

    assert "RuntimeError" in caplog.text
    assert "Lovelace" not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.contract("bytes win")
@pytest.mark.parametrize("declared", ["text/plain", "image/jpeg", "application/dicom"])
def test_the_type_is_decided_from_the_bytes(client: TestClient, declared: str) -> None:
    response = client.post(URL, files={"file": ("notes.txt", GOOD, declared)})

    assert response.json()["heatmap_base64"] == send(client, GOOD).json()["heatmap_base64"]


@pytest.mark.contract("415")
@pytest.mark.provokes("request.unsupported_content_type")
@pytest.mark.parametrize("content_type", ["text/plain", "application/pdf", "application/xml"])
def test_rejects_an_unsupported_content_type(client: TestClient, content_type: str) -> None:
    response = client.post(URL, content=GOOD, headers={"content-type": content_type})

    problem(response, 415, "request.unsupported_content_type")


@pytest.mark.provokes("request.malformed")
@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nhalf', "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data"),
        (b"", "multipart/form-data; boundary=x"),
        (b"{", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[" * 100_000, "application/json"),
    ],
)
def test_rejects_a_body_that_does_not_match_its_content_type(
    client: TestClient, content: bytes, content_type: str
) -> None:
    problem(client.post(URL, content=content, headers={"content-type": content_type}), 400, "request.malformed")


def test_parts_of_other_names_are_limited(client: TestClient) -> None:
    response = client.post(URL, files=[("other", ("a.png", b"x"))] * 101)

    problem(response, 400, "request.malformed")


@pytest.mark.parametrize(
    ("url", "body"),
    [
        (BATCH, b'{"images":[' + b",".join([b"1"] * 200_000) + b"]}"),
        (URL, b'{"image_base64":"","include":[' + b",".join([b"1"] * 200_000) + b"]}"),
        (URL, b'{"image_base64":"","include":[' + b",".join([b'"all"'] * 200_000) + b"]}"),
    ],
)
def test_a_million_errors_get_a_short_response(client: TestClient, url: str, body: bytes) -> None:
    response = client.post(url, content=body, headers={"content-type": "application/json"})

    assert len(problem(response, 422, "request.invalid")["errors"]) == 1
    assert len(response.content) < 2000


def test_an_error_names_its_option(client: TestClient) -> None:
    body = problem(send(client, GOOD, "?include=overlay,everything"), 422, "request.invalid")

    assert body["detail"].startswith("include.1: Input should be")


@pytest.mark.contract("400 image")
@pytest.mark.provokes("input.bad_base64")
@pytest.mark.parametrize("text", ["@@@", "data:image/png,AAAA", "AAAAA", "Ä"])
def test_rejects_invalid_base64(client: TestClient, text: str) -> None:
    problem(client.post(URL, json={"image_base64": text}), 400, "input.bad_base64")
    images = [{"image_base64": each} for each in (text, base64.b64encode(GOOD).decode())]
    results = client.post(BATCH, json={"images": images}).json()["results"]
    assert [(item["success"], item["code"]) for item in results] == [(False, "input.bad_base64"), (True, None)]


@pytest.mark.parametrize(
    "body", [{}, {"image_base64": 7}, {"image_base64": None}, [], "text", {"image_base64": "", "alpha": 2}]
)
def test_rejects_json_of_the_wrong_shape(client: TestClient, body: Any) -> None:  # noqa: ANN401 - JSON
    assert problem(client.post(URL, json=body), 422, "request.invalid")["errors"]


def test_an_error_outside_of_any_field_is_located_in_the_body(client: TestClient) -> None:
    assert problem(client.post(URL, json=[]), 422, "request.invalid")["detail"] == "body: Input should be an object"


@pytest.mark.contract("batch", "one bad file", "counts")
def test_a_bad_file_does_not_affect_the_others(client: TestClient) -> None:
    bad = ["empty.png", "text.png", "truncated.jpg", "bomb.png"]
    files = [("files", (name, (CONFORMANCE / name).read_bytes())) for name in bad]
    files.insert(2, ("files", ("good.png", GOOD)))

    answer = client.post(BATCH, files=files).json()

    assert answer["success"] is True
    assert (answer["succeeded"], answer["failed"]) == (1, 4)
    assert [item["filename"] for item in answer["results"]] == [*bad[:2], "good.png", *bad[2:]]
    assert [item["code"] for item in answer["results"]] == [
        "input.empty",
        "input.unsupported",
        None,
        "input.unreadable",
        "limit.image_pixels",
    ]
    good = answer["results"][2]
    assert good["heatmap_base64"] == send(client, GOOD).json()["heatmap_base64"]
    for item in (each for each in answer["results"] if each is not good):
        assert item["success"] is False
        assert item["error"]
        assert item["heatmap_base64"] is None
        assert item["original_image_base64"] is None


def test_a_file_over_its_limit_does_not_affect_the_others(make_client: MakeClient) -> None:
    files = [("files", ("big.png", GOOD + b"\0")), ("files", ("good.png", GOOD))]

    answer = make_client(file_bytes=len(GOOD)).post(BATCH, files=files).json()

    assert [item["code"] for item in answer["results"]] == ["limit.file_bytes", None]


@pytest.mark.provokes("limit.request_pixels")
def test_the_pixel_limit_of_a_request_counts_all_images(make_client: MakeClient) -> None:
    two = [("files", ("a.png", GOOD))] * 2

    assert make_client(request_pixels=2 * 24 * 24).post(BATCH, files=two).status_code == 200
    problem(make_client(request_pixels=2 * 24 * 24 - 1).post(BATCH, files=two), 413, "limit.request_pixels")


def test_the_file_limit_applies_to_every_way_to_send_a_file(make_client: MakeClient) -> None:
    as_json = {"image_base64": base64.b64encode(GOOD).decode()}
    headers = {"content-type": "image/png"}

    for limit, status in ((len(GOOD), 200), (len(GOOD) - 1, 413)):
        client = make_client(file_bytes=limit)
        assert client.post(URL, json=as_json).status_code == status
        assert client.post(URL, content=GOOD, headers=headers).status_code == status
        assert send(client, GOOD).status_code == status


@pytest.mark.contract("while reading")
def test_an_oversize_image_is_read_to_its_end_and_not_kept(make_client: MakeClient) -> None:
    client = make_client(file_bytes=1000, body_bytes=10_000_000)
    held: list[int] = []

    async def receive() -> dict[str, Any]:
        held.append(tracemalloc.get_traced_memory()[0])
        return {"type": "http.request", "body": bytes(100_000), "more_body": len(held) < 50}

    async def send(_: Any) -> None:  # noqa: ANN401 - ASGI
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": URL,
        "query_string": b"",
        "headers": [(b"content-type", b"image/png")],
    }

    async def call() -> None:
        await client.app(scope, receive, send)

    tracemalloc.start()
    awaited(call())
    tracemalloc.stop()

    assert len(held) == 50
    assert max(held) - held[0] < 1_000_000  # of 5,000,000 bytes sent


def test_the_response_limit_is_exact(make_client: MakeClient) -> None:
    headers = {"accept": "image/png"}
    size = len(make_client().post(URL, files={"file": GOOD}, headers=headers).content)

    for limit, status in ((size, 200), (size - 1, 413)):
        client = make_client(answer_binary_bytes=limit)
        assert client.post(URL, files={"file": GOOD}, headers=headers).status_code == status


@pytest.mark.contract("while reading")
def test_rejects_a_declared_length_over_the_limit_without_reading(make_client: MakeClient) -> None:
    def body() -> Iterator[bytes]:
        pytest.fail("the body was read")
        yield b""  # type: ignore[unreachable]  # makes this a generator

    client = make_client(body_bytes=1000)
    for length in ("1001", "9" * 5000):
        headers = {"content-type": "image/png", "content-length": length}
        problem(client.post(URL, content=body(), headers=headers), 413, "limit.body_bytes")


def test_rejects_a_response_that_is_too_large_to_send(make_client: MakeClient) -> None:
    body = problem(send(make_client(answer_json_bytes=2000), GOOD), 413, "limit.answer_bytes")

    assert "include=map" in body["detail"]
    small = make_client(answer_json_bytes=2000)
    assert send(small, GOOD, "?include=map").status_code == 200
    as_png = make_client(answer_binary_bytes=100).post(URL, files={"file": GOOD}, headers={"accept": "image/png"})
    problem(as_png, 413, "limit.answer_bytes")


@pytest.mark.contract("503")
@pytest.mark.provokes("model.unavailable")
def test_the_server_starts_without_a_model_and_reports_the_reason(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client(model_dir=tmp_path / "gone", retry_after_s=17)

    response = send(client, GOOD)
    health = client.get("/api/inference/health")

    problem(response, 503, "model.unavailable")
    assert response.headers["retry-after"] == "17"
    problem(client.get("/api/inference/ready"), 503, "model.unavailable")
    assert health.status_code == 200
    assert health.json() == {
        "status": "unhealthy",
        "model_loaded": False,
        "gpu_available": False,
        "model_version": None,
        "reason": "no readable card.json in the model folder 'gone': compile one",
        "models": [
            {
                "name": "gone",
                "loaded": False,
                "version": None,
                "reason": "no readable card.json in the model folder 'gone': compile one",
                "golden": None,
                "method": None,
            }
        ],
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"output": "softmax"},
        {"output": "softmax", "classes": ("A", "B", "C")},
        {"grid": (1, 2, 3)},
        {"preprocess": Preprocess(resize=(30, 30), mean=(0, 0, 0), std=(1, 1, 1))},
    ],
)
def test_a_card_that_does_not_match_its_graphs_is_not_loaded(
    make_client: MakeClient, tmp_path: Path, changes: dict[str, Any]
) -> None:
    client = make_client(model_dir=write_tiny_model(tmp_path / "odd", **changes))

    health = client.get("/api/inference/health").json()

    assert health["status"] == "unhealthy"
    assert health["reason"].startswith("the graphs ")
    problem(send(client, GOOD), 503, "model.unavailable")


def test_health_responds_while_every_worker_is_busy(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    busy, done = threading.Semaphore(0), threading.Event()

    def slow(*_: object, **__: object) -> list[Any]:
        busy.release()
        assert done.wait(30)
        return [GenerationFailed("slow")]

    with make_client(concurrency=2) as client, monkeypatch.context() as patch, ThreadPoolExecutor(60) as senders:
        patch.setattr("heatlens_web.state.explain", slow)
        waiting = [senders.submit(send, client, GOOD) for _ in range(50)]
        assert busy.acquire(timeout=30)
        assert busy.acquire(timeout=30)
        try:
            assert client.get("/api/inference/health").json()["status"] == "healthy"
            assert not busy.acquire(blocking=False)  # no third image at once
        finally:
            done.set()
        assert {each.result().status_code for each in waiting} == {500}


@pytest.mark.contract("500")
@pytest.mark.provokes("generation.failed")
def test_an_internal_failure_sends_a_safe_message_and_logs_the_cause(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret of the engine")

    with monkeypatch.context() as patch:
        patch.setattr(OpenVinoEngine, "tail", broken)
        response = send(client, GOOD)
        batch = client.post(BATCH, files=[("files", ("a.png", GOOD)), ("files", ("b.png", b""))])

    body = problem(response, 500, "generation.failed")
    assert body["detail"] == "the heatmap could not be generated"
    assert "secret of the engine" in caplog.text
    assert batch.status_code == 200
    assert [item["code"] for item in batch.json()["results"]] == ["generation.failed", "input.empty"]


@pytest.mark.parametrize("poison", [(np.nan, 1), (1, np.nan), (1, np.inf)])
def test_a_model_that_returns_nan_is_a_failure(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, poison: tuple[float, float]
) -> None:
    tail = OpenVinoEngine.tail

    def poisoned(engine: OpenVinoEngine, *arguments: Any) -> Any:  # noqa: ANN401 - passes through
        logits, gradient = tail(engine, *arguments)
        assert gradient is not None
        return logits * np.float32(poison[0]), gradient * np.float32(poison[1])

    with monkeypatch.context() as patch:
        patch.setattr(OpenVinoEngine, "tail", poisoned)
        response = send(client, GOOD)

    problem(response, 500, "generation.failed")


@pytest.mark.contract("problem")
@pytest.mark.provokes("internal")
def test_an_unexpected_failure_is_a_problem_too(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    with monkeypatch.context() as patch:
        patch.setattr("heatlens_web.state.explain", broken)
        response = send(client, GOOD)

    body = problem(response, 500, "internal")
    assert "secret" not in response.text
    assert body["request_id"] in body["detail"]


@pytest.mark.contract("problem")
def test_unknown_paths_and_methods_are_problems_too(client: TestClient) -> None:
    problem(client.get("/api/inference/nothing"), 404, "http.not_found")
    problem(client.get(URL), 405, "http.method_not_allowed")


@pytest.mark.contract("problem")
@pytest.mark.parametrize("path", [f"{URL}/", "/api/inference/health/", "/docs/"])
def test_a_trailing_slash_is_not_redirected(client: TestClient, path: str) -> None:
    problem(client.post(path, headers={"host": "elsewhere"}, follow_redirects=False), 404, "http.not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", URL, "POST"),
        ("OPTIONS", f"{URL}-batch", "POST"),
        ("PUT", "/api/inference/health", "GET, HEAD"),
        (
            "PUT",
            "/api/inference/batches/01J00000000000000000000000",
            "DELETE, GET, HEAD",
        ),  # two routes with one address
        ("POST", "/static/js/app.js", "GET, HEAD"),
    ],
)
def test_allow_lists_every_method_of_an_address(client: TestClient, method: str, path: str, allowed: str) -> None:
    response = client.request(method, path)

    problem(response, 405, "http.method_not_allowed")
    assert response.headers["allow"] == allowed


@pytest.mark.contract("page")
def test_the_page_and_its_samples_are_served(client: TestClient) -> None:
    page = client.get("/")

    assert page.status_code == 200
    assert client.get("/static/js/app.js").status_code == 200
    sample = client.get("/static/samples/samples.json").json()["samples"][0]["file"]
    assert Image.open(io.BytesIO(client.get(f"/static/samples/{sample}").content)).size[0] > 0


@pytest.mark.parametrize("name", list(marked()))
def test_no_value_of_a_dicom_file_is_sent_or_logged(client: TestClient, name: str, heard: list[str]) -> None:
    data = marked()[name]

    response = send(client, data, "?include=overlay,original,heatmap,map", name="scan.dcm")

    assert response.status_code in (200, 400)
    fields = {field: value for field, value in response.json().items() if field.endswith("_base64") and value}
    pictures = [base64.b64decode(value).decode("latin-1") for value in fields.values()]
    all_of_it = " ".join([response.text, str(response.headers), *pictures, *heard])
    assert MARKER.split("^")[0] not in all_of_it  # base64 may contain the other, shorter part by chance
