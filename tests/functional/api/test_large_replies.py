"""A response that is too large to send: 303 to the same bytes in the bucket, or 413 without a bucket.

The account is moto's server, the API a server of its own, and the client follows redirects as any client does.
"""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, Response
from starlette.testclient import TestClient

from heatlens_aws.settings import AwsSettings
from heatlens_cli.events.http_events import KINDS, LambdaContext, heatmap_request
from heatlens_web.app import create_app
from heatlens_web.errors import AnswerTooLarge
from heatlens_web.lambda_handler import create_handler
from heatlens_web.large_replies import Replies, carried_bytes, carry, open_replies
from heatlens_web.settings import DEPLOYMENT_LIMITS, ServerSettings
from infra.local_account import BUCKET, LocalAccount, local_account
from tests.contract.test_base_schema import BATCH, HEATMAP, ITEM, fits
from tests.functional.api.test_bad_input import problem
from tests.functional.conftest import MakeClient
from tests.support.dicom_studies import radiograph
from tests.support.images import encoded, noise
from tests.unit.heatlens_web.test_related import parts

URL = "/api/inference/heatmap"
DATA = encoded(noise((64, 48)))
NAME = "Doe^Jane 1970-01-01.png"
VOLATILE = {"request_id", "processing_time_ms", "timings_ms", "total_processing_time_ms"}


@pytest.fixture(scope="module")
def account() -> Iterator[LocalAccount]:
    with local_account() as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        yield made


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve the application until the block ends, and give its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def address(account: LocalAccount, tiny_folder: Path) -> Iterator[str]:
    settings = ServerSettings(model_dir=tiny_folder, answer_json_bytes=3000, answer_binary_bytes=3000)
    with served(create_app(settings, deployment="lambda")) as url:
        yield url


def stable(body: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(body, dict):
        return {name: stable(value) for name, value in body.items() if name not in VOLATILE}
    return [stable(each) for each in body] if isinstance(body, list) else body


@pytest.mark.contract("303")
def test_a_client_that_follows_redirects_reads_the_base_schema(address: str, tiny_folder: Path) -> None:
    with httpx2.Client(follow_redirects=True) as client:
        answer = client.post(address + URL, files={"file": (NAME, DATA)})

    body = answer.json()
    [redirect] = answer.history
    assert (redirect.status_code, answer.status_code) == (303, 200)
    assert fits(body, HEATMAP)
    assert body["filename"] == NAME
    assert base64.b64decode(body["original_image_base64"]) == DATA
    plain = TestClient(create_app(ServerSettings(model_dir=tiny_folder), deployment="server"))
    assert stable(body) == stable(plain.post(URL, files={"file": (NAME, DATA)}).json())


@pytest.mark.contract("303")
def test_a_client_that_follows_redirects_reads_a_batch_too(address: str) -> None:
    files = [("files", (NAME, DATA)), ("files", ("b.png", b"none"))]
    with httpx2.Client(follow_redirects=True) as client:
        answer = client.post(f"{address}{URL}-batch", files=files)

    body = answer.json()
    assert [each.status_code for each in answer.history] == [303]
    assert fits(body, BATCH)
    assert all(fits(item, ITEM) for item in body["results"])
    assert [item["success"] for item in body["results"]] == [True, False]


@pytest.mark.contract("303")
def test_a_client_that_follows_redirects_reads_the_overlay_itself_too(address: str, tiny_folder: Path) -> None:
    with httpx2.Client(follow_redirects=True) as client:
        answer = client.post(address + URL, files={"file": DATA}, headers={"accept": "image/png"})

    plain = TestClient(create_app(ServerSettings(model_dir=tiny_folder), deployment="server"))
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == base64.b64decode(plain.post(URL, files={"file": DATA}).json()["heatmap_base64"])
    assert answer.history[0].headers["x-heatlens-label"] == "BRIGHT"


@pytest.mark.contract("303", "DICOM objects")
@pytest.mark.parametrize("kinds", ["sc", "sc,seg"])
def test_a_client_that_follows_redirects_reads_dicom_objects_too(address: str, tiny_folder: Path, kinds: str) -> None:
    scan, url = radiograph(), f"{URL}?dicom={kinds}"
    with httpx2.Client(follow_redirects=True) as client:
        answer = client.post(address + url, files={"file": (NAME, scan)}, headers={"accept": "application/dicom"})

    [redirect] = answer.history
    plain = TestClient(create_app(ServerSettings(model_dir=tiny_folder), deployment="server"))
    expected = [base64.b64decode(each["data_base64"]) for each in plain.post(url, files={"file": scan}).json()["dicom"]]
    content_type = answer.headers["content-type"]
    found = [data for _, data in parts(answer.content, content_type)] if "," in kinds else [answer.content]
    assert (redirect.status_code, answer.status_code) == (303, 200)
    assert content_type.startswith("multipart/related" if "," in kinds else "application/dicom")
    assert found == expected
    assert not [value for value in ("Doe", "P-17", "2.25.") if value in redirect.headers["location"]]


@pytest.mark.contract("reply keys")
def test_the_redirect_holds_nothing_but_the_address(address: str, account: LocalAccount) -> None:
    with httpx2.Client() as client:
        redirect = client.post(address + URL, files={"file": (NAME, DATA)})

    where = urlsplit(redirect.headers["location"])
    request_id = redirect.headers["x-request-id"]
    signed = parse_qs(where.query)
    assert (redirect.status_code, redirect.content, redirect.headers["cache-control"]) == (303, b"", "no-store")
    assert where.path == f"/{BUCKET}/reply/{request_id}"
    assert signed["X-Amz-Expires"] == ["900"]
    assert signed["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    stored = account.clients.s3.get_object(Bucket=BUCKET, Key=f"reply/{request_id}")
    assert stored["ContentType"] == "application/json"
    assert stored["Metadata"] == {}
    assert json.loads(stored["Body"].read())["request_id"] == request_id
    assert "Doe" not in redirect.headers["location"]


@pytest.mark.contract("303")
@pytest.mark.parametrize("kind", KINDS)
def test_every_gateway_passes_the_redirect_on(account: LocalAccount, tiny_folder: Path, kind: str) -> None:
    app = create_app(ServerSettings(model_dir=tiny_folder, answer_json_bytes=3000), deployment="lambda")
    context = LambdaContext(aws_request_id=f"the-id-{kind}")

    answer = create_handler(app)(KINDS[kind](heatmap_request(NAME, DATA)), context)  # type: ignore[arg-type]

    headers = answer.get("headers") or {n: v[0] for n, v in answer["multiValueHeaders"].items()}
    assert answer["statusCode"] == 303
    assert f"/reply/the-id-{kind}?" in headers["location"]


def test_a_response_that_fits_is_not_stored(account: LocalAccount, address: str) -> None:
    before = len(account.clients.s3.list_objects_v2(Bucket=BUCKET, Prefix="reply/").get("Contents", []))
    with httpx2.Client() as client:
        answer = client.post(f"{address}{URL}?include=map", files={"file": DATA})

    after = len(account.clients.s3.list_objects_v2(Bucket=BUCKET, Prefix="reply/").get("Contents", []))
    assert (answer.status_code, after) == (200, before)


@pytest.mark.contract("413 ways out")
@pytest.mark.provokes("limit.answer_bytes")
def test_without_a_bucket_the_error_names_the_ways_out(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEATLENS_BUCKET", raising=False)
    response = make_client(answer_json_bytes=3000).post(URL, files={"file": DATA})

    body = problem(response, 413, "limit.answer_bytes")
    assert "this server can send 3,000: " in body["detail"]
    for way in ("include=overlay", "include=map", "fewer or smaller files", "staged batch"):
        assert way in body["detail"]


@pytest.mark.contract("413 ways out")
def test_without_a_bucket_the_error_names_the_ways_out_of_dicom(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEATLENS_BUCKET", raising=False)
    client, accept = make_client(answer_binary_bytes=3000), {"accept": "application/dicom"}

    for kinds in ("sc", "sc,seg"):
        response = client.post(f"{URL}?dicom={kinds}", files={"file": radiograph()}, headers=accept)
        assert "fewer kinds (such as dicom=seg)" in problem(response, 413, "limit.answer_bytes")["detail"]


@pytest.mark.provokes("staging.unavailable")
def test_storage_that_fails_is_a_503_without_details(
    account: LocalAccount, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEATLENS_BUCKET", "no-such-bucket")
    app = create_app(ServerSettings(model_dir=tiny_folder, answer_json_bytes=3000), deployment="lambda")

    response = TestClient(app).post(URL, files={"file": DATA})

    assert "bucket" not in problem(response, 503, "staging.unavailable")["detail"]
    assert response.headers["retry-after"] == "30"


@pytest.mark.contract("303")
@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize(("media_type", "limit"), [("application/json", 6_000_000), ("image/png", 4_400_000)])
def test_the_limit_stands_at_exactly_its_number(media_type: str, limit: int, more: int) -> None:
    response = Response(b"x" * (limit + more), media_type=media_type)

    if more > 0:
        with pytest.raises(
            AnswerTooLarge, match=f"the response has {limit + 1:,} bytes, this server can send {limit:,}: "
        ):
            carry(response, DEPLOYMENT_LIMITS["lambda"], None)
    else:
        assert carry(response, DEPLOYMENT_LIMITS["lambda"], None) is response
    assert carry(response, DEPLOYMENT_LIMITS["server"], None) is response


def test_json_is_counted_as_lambda_counts_it() -> None:
    body = json.dumps({"a": "b\\c", "d": ["e"] * 5}).encode()

    counted = carried_bytes(Response(body, media_type="application/json"))

    assert counted == len(json.dumps(body.decode())) - 2  # within the event's JSON, less its own quotes
    assert carried_bytes(Response(body, media_type="image/png")) == len(body)


def test_replies_need_a_bucket_and_no_table() -> None:
    assert open_replies(AwsSettings(bucket="", table="t")) is None
    assert isinstance(open_replies(AwsSettings(bucket="b")), Replies)
    assert open_replies(AwsSettings(bucket="b", endpoint_url="", AWS_SAM_LOCAL=True)) is None
