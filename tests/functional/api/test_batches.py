"""Staged batches over HTTP, on an account in memory; the tests act as the worker."""

import base64
import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError
from mangum import Mangum
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from functions.batch import context
from functions.batch.errors import WrongDigest
from functions.batch.purge import erase_purged
from heatlens.model import Model
from heatlens.options import as_json
from heatlens.types import Options
from heatlens_aws.metrics import BATCHES_UNSWEPT
from heatlens_aws.records import Batch, BatchState, File, FileState, attributes, batch_key, file_key
from heatlens_aws.settings import STAGED_LIMITS
from heatlens_aws.staging import Staging, Stored
from heatlens_aws.tombstones import PurgeState
from heatlens_cli.events.http_events import Event, HttpRequest, LambdaContext, answer_json, http_api_v2, rest_api_v1
from heatlens_web.batches import service
from heatlens_web.schemas import batches
from tests.functional.api.test_bad_input import problem
from tests.functional.conftest import MakeClient
from tests.support.aws import Account
from tests.support.paths import ROOT

URL = "/api/inference/batches"
NOBODYS = "01J00000000000000000000000"
NAME = "Müller^Jürgen, thorax.png"
DATA = b"not really an image"
FAMILIAR = {"percentile": 12.5, "unfamiliar": False}
DONE = {"attempt": "01J0ATTEMPT", "label": "opacity", "probability": 0.75, "quality": "ok", "familiarity": FAMILIAR}
Answer = Any


@pytest.fixture
def staged(aws: Account, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A client of a server with staging, whose counts are never cached."""
    monkeypatch.setenv("HEATLENS_BUCKET", aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", aws.settings.table)
    monkeypatch.setattr(service, "COUNTS_LIVE_S", 0.0)
    return make_client()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """Return the audit lines so far."""
    caplog.set_level(logging.INFO)
    return lambda: [json.loads(record.message) for record in caplog.records if record.name == "heatlens.audit"]


def digest(number: int) -> str:
    return hashlib.sha256(f"file {number}".encode()).hexdigest()


def declaration(number: int = 0, **changes: object) -> dict[str, Any]:
    return {"name": NAME, "size": len(DATA), "sha256": digest(number), "media_type": "image/png"} | changes


def opened(client: TestClient, files: int = 2, **options: object) -> str:
    """Open a batch without files."""
    answer = client.post(URL, json={"expected_files": files} | options)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["batch_id"])


def declare(client: TestClient, batch: str, files: list[dict[str, Any]]) -> Answer:
    return client.post(f"{URL}/{batch}/files", json={"files": files})


def declared(client: TestClient, files: int = 2) -> str:
    """Open a batch and declare all its files."""
    batch = opened(client, files)
    assert declare(client, batch, [declaration(number) for number in range(files)]).status_code == 200
    return batch


def upload(aws: Account, batch: str, *numbers: int) -> None:
    for number in numbers:
        aws.clients.s3.put_object(Bucket=aws.settings.bucket, Key=f"in/i/{batch}/{number:05d}", Body=DATA)


def half_done(client: TestClient, aws: Account) -> str:
    """Finish a batch: the first file is OK, the second failed, the third is missing."""
    batch = declared(client, 3)
    upload(aws, batch, 0, 1)
    aws.jobs.settle(batch, 0, FileState.OK, DONE)
    aws.jobs.settle(batch, 1, FileState.FAILED, {"code": "input.unreadable"})
    assert client.post(f"{URL}/{batch}/close").json()["state"] == "partial"
    return batch


def row(aws: Account, batch: str) -> Batch:
    row = aws.jobs.batch(batch)
    assert row
    return row


def states(aws: Account, batch: str) -> list[str]:
    return [file.state.value for file in aws.jobs.files(row(aws, batch))]


def caller(app: Any, who: str) -> TestClient:  # noqa: ANN401 - an ASGI application
    """Return a client that a gateway in front of the application has identified as a subject."""
    event = {"requestContext": {"authorizer": {"jwt": {"claims": {"iss": "https://idp.example", "sub": who}}}}}

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "aws.event": event}, receive, send)

    return TestClient(gateway, raise_server_exceptions=False)


def counts(**some: int) -> dict[str, int]:
    return dict.fromkeys(get_args(batches.FileState), 0) | some


def instant(text: str) -> float:
    assert text.endswith("Z")
    return datetime.fromisoformat(text).timestamp()


def test_the_schema_names_every_state() -> None:
    assert set(get_args(batches.FileState)) == {state.value for state in FileState}
    assert set(get_args(batches.BatchState)) == {state.value for state in (*BatchState, *PurgeState)}


def test_the_description_has_every_route(staged: TestClient) -> None:
    paths = staged.get("/openapi.json").json()["paths"]

    operations = {
        operation["operationId"]: operation
        for path, methods in paths.items()
        if path.startswith(URL)
        for operation in methods.values()
    }
    assert set(operations) == {
        "batch_create",
        "batch_declare",
        "batch_links",
        "batch_close",
        "batch_status",
        "batch_results",
        "batch_delete",
    }
    for operation in operations.values():
        assert "application/problem+json" in operation["responses"]["404"]["content"]
    assert "201" in operations["batch_create"]["responses"]
    assert "202" in operations["batch_delete"]["responses"]


@pytest.mark.contract("POST batches")
def test_a_new_batch(staged: TestClient, aws: Account, tiny_model: Model) -> None:
    answer = staged.post(URL, json={"expected_files": 3, "colormap": "hot", "include": "overlay,map"})

    body = answer.json()
    assert answer.status_code == 201
    assert set(body) == {"batch_id", "state", "lane", "expected_files", "deadline"}
    assert (body["state"], body["expected_files"]) == ("open", 3)
    assert instant(body["deadline"]) == pytest.approx(time.time() + 5 * 86400, abs=10)
    batch = row(aws, body["batch_id"])
    assert batch.owner == "local"
    kept = as_json(Options(colormap="hot", method="gradcam", include=frozenset({"map", "overlay"})))
    assert batch.options == {n: v for n, v in kept.items() if n not in ("original", "strip_original")}
    assert batch.model == tiny_model.sha256
    assert batch.expires_at - batch.created == 31 * 86400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"expected_files": 0},
        {"expected_files": -1},
        {"expected_files": "3"},
        {"expected_files": True},
        {"expected_files": 1.5},
        {"expected_files": 3, "colormap": "rainbow"},
        {"expected_files": 3, "alpha": 2},
        {"expected_files": 3, "format": "gif"},
        {"expected_files": 3, "window": "40"},
        {"expected_files": 3, "include": []},
        {"expected_files": 3, "alpha": "0.4"},
        {"expected_files": 3, "eigen_smooth": 0},
        {"expected_files": 3, "threshold": 5e-324},
        {"expected_files": 3, "retry_of": NOBODYS},
        {"retry_of": NOBODYS, "alpha": 0.5},
        {"retry_of": 7},
        [],
    ],
)
def test_rejects_an_invalid_batch(staged: TestClient, body: Any) -> None:  # noqa: ANN401 - JSON
    assert problem(staged.post(URL, json=body), 422, "request.invalid")["errors"]


def test_accepts_10_000_files_and_no_more(staged: TestClient) -> None:
    assert staged.post(URL, json={"expected_files": 10_000}).status_code == 201
    problem(staged.post(URL, json={"expected_files": 10_001}), 400, "request.too_many_files")


@pytest.mark.parametrize("path", ["", f"/{NOBODYS}/files"])
@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "request.malformed"),
        (b"[" * 100_000, "application/json", 400, "request.malformed"),
        (b"\xff", "application/json", 400, "request.malformed"),
        (b'{"expected_files": 1}', "text/plain", 415, "request.unsupported_content_type"),
        (b" " * 2_000_001, "application/json", 413, "limit.body_bytes"),
        (b"", "application/json", 422, "request.invalid"),
    ],
)
def test_rejects_an_unusable_body(
    staged: TestClient, path: str, content: bytes, content_type: str, status: int, code: str
) -> None:
    problem(staged.post(URL + path, content=content, headers={"content-type": content_type}), status, code)


@pytest.mark.contract("POST files", "upload links")
def test_files_get_numbers_and_links_that_accept_only_their_upload(staged: TestClient, aws: Account) -> None:
    batch = opened(staged, 3)

    first = declare(staged, batch, [declaration(0), declaration(1, media_type="application/dicom")]).json()
    second = declare(staged, batch, [declaration(2, sha256=digest(2).upper())]).json()

    assert set(first) == {"files"}
    assert [file["number"] for file in first["files"] + second["files"]] == [0, 1, 2]
    link = first["files"][1]
    assert set(link) == {"number", "url", "headers"}
    assert link["headers"] == {
        "content-length": str(len(DATA)),
        "content-type": "application/dicom",
        "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(digest(1))).decode(),
        "if-none-match": "*",
    }
    url = urlsplit(link["url"])
    query = parse_qs(url.query)
    assert (url.scheme, url.netloc) == ("https", f"{aws.settings.bucket}.s3.us-east-1.amazonaws.com")
    assert url.path == f"/in/i/{batch}/00001"
    assert query["X-Amz-Expires"] == ["3600"]
    assert set(query["X-Amz-SignedHeaders"][0].split(";")) == {
        "content-length",
        "content-type",
        "host",
        "if-none-match",
        "x-amz-checksum-sha256",
    }
    assert aws.jobs.file(batch, 2) == File(
        batch=batch,
        number=2,
        state=FileState.PENDING,
        name=NAME,
        size=len(DATA),
        sha256=digest(2),
        media_type="image/png",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "ä" * 128},
        {"name": None},
        {"size": 0},
        {"size": STAGED_LIMITS.file_bytes + 1},
        {"size": "10"},
        {"sha256": "0" * 63},
        {"sha256": "g" * 64},
        {"sha256": "0" * 64 + "\n"},
        {"media_type": "text/html"},
        {"media_type": "image/"},
        {"media_type": "image/png\r\nx: y"},
        {"media_type": "image/png "},
        {"media_type": "image/pñg"},
        {"media_type": "image/" + "x" * 95},
    ],
    ids=str,
)
def test_an_invalid_declaration_declares_nothing(staged: TestClient, aws: Account, change: dict[str, Any]) -> None:
    batch = opened(staged)

    body = problem(declare(staged, batch, [declaration(), declaration() | change]), 422, "request.invalid")

    assert body["errors"][0]["loc"][:3] == ["body", "files", 1]
    assert row(aws, batch).declared == 0


@pytest.mark.parametrize(
    "change",
    [
        {"name": "ä" * 127},
        {"name": "../../etc/passwd"},
        {"size": STAGED_LIMITS.file_bytes},
        {"media_type": "image/" + "x" * 94},
        {"media_type": 'application/dicom; transfer-syntax="1.2"'},
    ],
    ids=str,
)
def test_accepts_declarations_at_the_limits(staged: TestClient, change: dict[str, Any]) -> None:
    assert declare(staged, opened(staged), [declaration() | change]).status_code == 200


def test_at_most_500_files_in_a_call(staged: TestClient, aws: Account) -> None:
    batch = opened(staged, 1000)

    problem(declare(staged, batch, [declaration()] * 501), 400, "request.too_many_files")
    problem(declare(staged, batch, []), 422, "request.invalid")
    assert row(aws, batch).declared == 0
    assert len(declare(staged, batch, [declaration()] * 500).json()["files"]) == 500


@pytest.mark.provokes("batch.full")
def test_rejects_more_files_than_expected(staged: TestClient, aws: Account) -> None:
    batch = opened(staged, 2)
    declare(staged, batch, [declaration()])

    body = problem(declare(staged, batch, [declaration()] * 2), 409, "batch.full")

    assert body["detail"] == "the batch expects 1 more files, these are 2"
    assert row(aws, batch).declared == 1


@pytest.mark.contract("POST links")
def test_links_are_for_missing_files_only(staged: TestClient, aws: Account) -> None:
    batch = declared(staged, 4)
    upload(aws, batch, 0)
    aws.jobs.settle(batch, 1, FileState.FAILED, {"code": "input.empty"})

    answer = staged.post(f"{URL}/{batch}/files/links").json()

    assert set(answer) == {"files", "next"}
    assert [file["number"] for file in answer["files"]] == [2, 3]
    assert answer["next"] is None
    assert urlsplit(answer["files"][0]["url"]).path == f"/in/i/{batch}/00002"


def test_the_models_answer_names_the_limits_of_staged_batches(
    staged: TestClient, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEATLENS_BATCH_FILES", "3")
    monkeypatch.setenv("HEATLENS_CALL_FILES", "2")

    default, changed = (client.get("/api/inference/models").json()["batches"] for client in (staged, make_client()))

    assert default == {"batch_files": 10_000, "call_files": 500, "file_bytes": STAGED_LIMITS.file_bytes}
    assert changed == {"batch_files": 3, "call_files": 2, "file_bytes": STAGED_LIMITS.file_bytes}


def test_the_models_answer_names_no_limits_without_staging(make_client: MakeClient) -> None:
    assert make_client().get("/api/inference/models").json()["batches"] is None


def test_links_come_in_pages(staged: TestClient, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATLENS_CALL_FILES", "2")
    few = make_client()
    batch = opened(staged, 5)
    declare(staged, batch, [declaration()] * 5)

    seen: list[int] = []
    start: int | None = 0
    while start is not None:
        page = few.post(f"{URL}/{batch}/files/links?start={start}").json()
        assert len(page["files"]) <= 2
        seen += [file["number"] for file in page["files"]]
        start = page["next"]

    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.contract("POST close")
def test_closing_makes_missing_files_terminal_and_is_idempotent(staged: TestClient, aws: Account) -> None:
    batch = declared(staged, 3)
    upload(aws, batch, 1)

    answer = staged.post(f"{URL}/{batch}/close")

    assert answer.json()["state"] == "running"
    assert answer.json()["counts"] == counts(PENDING=1, MISSING=2)
    assert answer.headers["retry-after"] == "5"
    assert states(aws, batch) == ["MISSING", "PENDING", "MISSING"]
    aws.jobs.settle(batch, 1, FileState.OK, DONE)
    again = staged.post(f"{URL}/{batch}/close")
    assert again.json()["state"] == "partial"
    assert "retry-after" not in again.headers
    assert staged.post(f"{URL}/{batch}/close").json() == again.json()


@pytest.mark.provokes("batch.closed")
def test_a_closed_batch_accepts_no_files(staged: TestClient, aws: Account) -> None:
    batch = opened(staged, 2)
    declare(staged, batch, [declaration()])
    upload(aws, batch, 0)
    staged.post(f"{URL}/{batch}/close")

    problem(declare(staged, batch, [declaration()]), 409, "batch.closed")
    problem(staged.post(f"{URL}/{batch}/files/links"), 409, "batch.closed")
    assert row(aws, batch).declared == 1


@pytest.mark.contract("GET batch")
def test_status_of_a_running_batch(staged: TestClient, aws: Account) -> None:
    batch = opened(staged, 6)
    declare(staged, batch, [declaration()] * 4)
    aws.jobs.settle(batch, 0, FileState.OK, DONE)
    created = int(time.time()) - 100
    aws.clients.dynamodb.update_item(
        TableName=aws.settings.table,
        Key=batch_key(batch),
        UpdateExpression="SET created = :created",
        ExpressionAttributeValues=attributes({":created": created}),
    )

    answer = staged.get(f"{URL}/{batch}")

    body = answer.json()
    assert answer.headers["retry-after"] == "5"
    assert body.pop("files_per_s") == pytest.approx(0.01, abs=0.001)
    assert body.pop("time_left_s") == pytest.approx(500, abs=50)
    assert instant(body.pop("created")) == created
    assert instant(body.pop("deadline")) == row(aws, batch).deadline
    assert body == {
        "batch_id": batch,
        "state": "open",
        "lane": "interactive",
        "expected_files": 6,
        "declared_files": 4,
        "counts": counts(OK=1, PENDING=3),
        "retry_of": None,
        "purge": None,
    }


def test_reading_the_status_finishes_a_batch_that_is_done(staged: TestClient, aws: Account) -> None:
    batch = declared(staged, 1)
    upload(aws, batch, 0)
    assert staged.post(f"{URL}/{batch}/close").json()["state"] == "running"
    aws.jobs.settle(batch, 0, FileState.OK, DONE)

    answer = staged.get(f"{URL}/{batch}")

    assert answer.json()["state"] == "succeeded"
    assert (answer.json()["files_per_s"], answer.json()["time_left_s"]) == (None, None)
    assert "retry-after" not in answer.headers
    assert row(aws, batch).state is BatchState.SUCCEEDED
    assert {stored.key for stored in aws.staging.uploaded("out/")} == {
        f"out/{batch}/manifest.json",
        f"out/{batch}/results.jsonl",
    }


def test_counts_are_cached_briefly(staged: TestClient, aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = declared(staged, 2)
    monkeypatch.setattr(service, "COUNTS_LIVE_S", 3600.0)
    staged.get(f"{URL}/{batch}")
    aws.jobs.settle(batch, 0, FileState.OK, DONE)

    assert staged.get(f"{URL}/{batch}").json()["counts"] == counts(PENDING=2)
    # A change of the batch itself invalidates the cache.
    assert staged.post(f"{URL}/{batch}/close").json()["counts"] == counts(OK=1, MISSING=1)
    monkeypatch.setattr(service, "COUNTS_LIVE_S", 0.0)
    assert staged.get(f"{URL}/{batch}").json()["counts"] == counts(OK=1, MISSING=1)


def test_the_cache_of_counts_is_limited(staged: TestClient, aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "COUNTS_KEPT", 2)
    recent = service.RecentCounts()
    batch = row(aws, declared(staged, 1))
    for number in range(5):
        recent.of(replace(batch, id=f"{number}"), aws.jobs)

    assert len(recent._known) <= 2


@pytest.mark.contract("GET results")
def test_results_of_each_kind(staged: TestClient, aws: Account) -> None:
    batch = half_done(staged, aws)

    answer = staged.get(f"{URL}/{batch}/results").json()

    ok, failed, missing = answer["results"]
    assert answer["next"] is None
    links = ok.pop("links")
    assert ok == {
        "number": 0,
        "name": NAME,
        "state": "OK",
        "label": "opacity",
        "probability": 0.75,
        "quality": "ok",
        "familiarity": FAMILIAR,
        "code": None,
    }
    assert failed == ok | {
        "number": 1,
        "state": "FAILED",
        "label": None,
        "probability": None,
        "quality": None,
        "familiarity": None,
        "code": "input.unreadable",
        "links": None,
    }
    assert missing == failed | {"number": 2, "state": "MISSING", "code": None}
    assert (links.pop("map_image"), links.pop("dicom")) == (None, None)
    assert {name: urlsplit(url).path for name, url in links.items()} == {
        "overlay": f"/out/{batch}/00000/01J0ATTEMPT/overlay.png",
        "map": f"/out/{batch}/00000/01J0ATTEMPT/map.npy",
        "result": f"/out/{batch}/00000/01J0ATTEMPT/result.json",
    }
    for url in links.values():
        assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["900"]


def test_each_object_has_a_link_of_its_own(staged: TestClient, aws: Account) -> None:
    batch = opened(staged, 1, include="map", dicom="seg,sc")
    declare(staged, batch, [declaration()])
    aws.jobs.settle(batch, 0, FileState.OK, DONE)

    [result] = staged.get(f"{URL}/{batch}/results").json()["results"]

    paths = {kind: urlsplit(url).path for kind, url in result["links"]["dicom"].items()}
    assert paths == {kind: f"/out/{batch}/00000/01J0ATTEMPT/heatmap.{kind}.dcm" for kind in ("sc", "seg")}


def test_no_link_to_an_overlay_that_was_not_requested(staged: TestClient, aws: Account) -> None:
    batch = opened(staged, 1, include="map")
    declare(staged, batch, [declaration()])
    aws.jobs.settle(batch, 0, FileState.OK, DONE)

    links = staged.get(f"{URL}/{batch}/results").json()["results"][0]["links"]

    assert links["overlay"] is None
    assert links["map"]


def test_links_lead_to_the_requested_images_and_format(staged: TestClient, aws: Account) -> None:
    batch = opened(staged, 1, include="heatmap,overlay", format="webp", window="40,400", original="png")
    declare(staged, batch, [declaration()])
    aws.jobs.settle(batch, 0, FileState.OK, DONE)

    links = staged.get(f"{URL}/{batch}/results").json()["results"][0]["links"]

    kept = aws.jobs.batch(batch)
    assert kept is not None
    assert (kept.options["format"], kept.options["window"], kept.options.get("original")) == ("webp", [40, 400], None)
    assert urlsplit(links["overlay"]).path.endswith("/01J0ATTEMPT/overlay.webp")
    assert urlsplit(links["map_image"]).path.endswith("/01J0ATTEMPT/map.webp")


def test_pages_continue_across_a_partition(staged: TestClient, aws: Account) -> None:
    batch = opened(staged, 1010)
    fill(aws, row(aws, batch), range(990, 1010))

    first = staged.get(f"{URL}/{batch}/results?start=990&limit=15").json()
    second = staged.get(f"{URL}/{batch}/results?start={first['next']}&limit=15").json()

    assert [each["number"] for each in first["results"]] == list(range(990, 1005))
    assert first["next"] == 1005
    assert [each["number"] for each in second["results"]] == list(range(1005, 1010))
    assert second["next"] is None
    assert staged.get(f"{URL}/{batch}").json()["counts"] == counts(PENDING=20)
    assert staged.get(f"{URL}/{batch}/results?start=1010").json() == {"results": [], "next": None}


def fill(aws: Account, batch: Batch, numbers: range) -> None:
    """Write files to the table as if a thousand had been declared."""
    for number in numbers:
        facts = {"state": "PENDING", "name": NAME, "size": 1, "sha256": digest(number), "media_type": "image/png"}
        aws.clients.dynamodb.put_item(TableName=aws.settings.table, Item=file_key(batch.id, number) | attributes(facts))
    aws.clients.dynamodb.update_item(
        TableName=aws.settings.table,
        Key=batch_key(batch.id),
        UpdateExpression="SET declared = :declared",
        ExpressionAttributeValues=attributes({":declared": numbers.stop}),
    )


@pytest.mark.contract("GET results")
def test_pages_have_100_results_and_200_at_most(staged: TestClient, aws: Account) -> None:
    batch = opened(staged, 250)
    fill(aws, row(aws, batch), range(250))
    page = f"{URL}/{batch}/results"

    assert len(staged.get(page).json()["results"]) == 100
    assert len(staged.get(f"{page}?limit=200").json()["results"]) == 200
    for wrong in ("limit=201", "limit=0", "start=-1", "start=x"):
        problem(staged.get(f"{page}?{wrong}"), 422, "request.invalid")


@pytest.mark.contract("DELETE batch")
def test_cancelling_stops_what_has_not_started(staged: TestClient, aws: Account) -> None:
    batch = declared(staged, 3)
    upload(aws, batch, 0, 1)
    aws.jobs.settle(batch, 0, FileState.OK, DONE)

    answer = staged.delete(f"{URL}/{batch}")

    assert answer.status_code == 200
    assert answer.json()["state"] == "cancelled"
    assert answer.json()["counts"] == counts(OK=1, CANCELLED=2)
    assert staged.delete(f"{URL}/{batch}").json() == answer.json()
    problem(declare(staged, batch, [declaration()]), 409, "batch.closed")


def test_cancelling_a_finished_batch_changes_nothing(staged: TestClient, aws: Account) -> None:
    batch = half_done(staged, aws)

    assert staged.delete(f"{URL}/{batch}").json()["state"] == "partial"
    assert states(aws, batch) == ["OK", "FAILED", "MISSING"]


@pytest.mark.contract("DELETE batch")
@pytest.mark.parametrize("finished", [True, False])
def test_a_purge_erases_this_batch_and_nothing_else(staged: TestClient, aws: Account, *, finished: bool) -> None:
    other = half_done(staged, aws)
    rows, objects = everything(aws)
    batch = half_done(staged, aws) if finished else declared(staged, 30)
    upload(aws, batch, 0, 0, 2)  # two versions of the first
    aws.clients.s3.delete_object(Bucket=aws.settings.bucket, Key=f"in/i/{batch}/00002")
    aws.staging.write(f"out/{batch}/00000/{DONE['attempt']}/overlay.png", b"x", "image/png")
    files = staged.get(f"{URL}/{batch}").json()["declared_files"]

    answer = staged.delete(f"{URL}/{batch}?purge=true")

    assert (answer.status_code, answer.headers["retry-after"]) == (202, "5")
    assert (answer.json()["state"], answer.json()["purge"]["files_left"]) == ("purging", files)
    assert answer.json()["counts"] == counts()
    assert staged.get(f"{URL}/{batch}").json() == answer.json()

    swept(aws)

    status = staged.get(f"{URL}/{batch}")
    assert (status.json()["state"], status.json()["purge"]["files_left"]) == ("purged", 0)
    assert "retry-after" not in status.headers
    assert everything(aws)[1] == objects
    assert len(everything(aws)[0]) == len(rows) + 1
    assert NAME not in str([row for row in everything(aws)[0] if row not in rows])
    assert other in str(objects)

    swept(aws, after=aws.settings.purge_watch_s + 1)

    assert everything(aws) == (rows, objects)
    problem(staged.get(f"{URL}/{batch}"), 404, "batch.not_found")
    problem(staged.delete(f"{URL}/{batch}?purge=true"), 404, "batch.not_found")


def swept(aws: Account, *, after: float = 0) -> None:
    """Erase what is due, as the sweeper does."""
    account = context.Account(aws.settings, aws.jobs, aws.staging, aws.clients.sqs)
    assert erase_purged(account, int(time.time() + after), lambda: 100)[BATCHES_UNSWEPT] == 0


def test_a_purge_can_be_repeated_and_cancelling_after_it_changes_nothing(staged: TestClient, aws: Account) -> None:
    batch = half_done(staged, aws)
    first = staged.delete(f"{URL}/{batch}?purge=true")

    again, cancelled = staged.delete(f"{URL}/{batch}?purge=true"), staged.delete(f"{URL}/{batch}")

    assert (again.status_code, again.json()) == (202, first.json())
    assert (cancelled.status_code, cancelled.json()) == (200, first.json())


def test_a_purged_batch_takes_no_files_and_returns_no_results(staged: TestClient, aws: Account) -> None:
    batch = declared(staged, 1)
    staged.delete(f"{URL}/{batch}?purge=true")

    for answer in (
        declare(staged, batch, [declaration()]),
        staged.post(f"{URL}/{batch}/files/links"),
        staged.post(f"{URL}/{batch}/close"),
        staged.get(f"{URL}/{batch}/results"),
        staged.post(URL, json={"retry_of": batch}),
    ):
        problem(answer, 404, "batch.not_found")


def test_a_purge_of_any_size_is_four_calls(staged: TestClient, aws: Account) -> None:
    """Ten thousand files have forty thousand objects: erasing them takes longer than the gateway waits."""
    batch = declared(staged, 30)
    aws.jobs.close(batch)
    clients = staged.app.state.batches  # type: ignore[attr-defined]
    met: list[str] = []
    for client in (clients.staging._s3, clients.jobs._dynamodb._client):
        client.meta.events.register("before-call", lambda model, **_: met.append(model.name))

    assert staged.delete(f"{URL}/{batch}?purge=true").status_code == 202

    assert met == ["GetItem", "PutItem", "GetItem", "Query"]


def everything(aws: Account) -> tuple[list[Any], list[Any]]:
    """Return all rows, and all versions and delete markers of all objects."""
    listed = aws.clients.s3.list_object_versions(Bucket=aws.settings.bucket)
    objects = [
        (each["Key"], each["VersionId"]) for each in listed.get("Versions", []) + listed.get("DeleteMarkers", [])
    ]
    return aws.clients.dynamodb.scan(TableName=aws.settings.table)["Items"], objects


@pytest.mark.contract("retry_of")
def test_a_retry_copies_the_uploads_of_failed_files(staged: TestClient, aws: Account) -> None:
    old = half_done(staged, aws)

    answer = staged.post(URL, json={"retry_of": old})

    new = answer.json()["batch_id"]
    assert answer.status_code == 201
    assert (answer.json()["state"], answer.json()["expected_files"]) == ("open", 2)
    assert new != old
    assert row(aws, new).options == row(aws, old).options
    assert [(file.name, file.sha256, file.state) for file in aws.jobs.files(row(aws, new))] == [
        (NAME, digest(1), FileState.PENDING),
        (NAME, digest(2), FileState.PENDING),
    ]
    assert [stored.key for stored in aws.staging.uploaded(f"in/i/{new}/")] == [f"in/i/{new}/00000"]
    assert aws.staging.read(Stored(f"in/i/{new}/00000"), max_bytes=100) == DATA
    assert [file["number"] for file in staged.post(f"{URL}/{new}/files/links").json()["files"]] == [1]
    assert staged.get(f"{URL}/{new}").json()["retry_of"] == old
    assert states(aws, old) == ["OK", "FAILED", "MISSING"]


def test_requesting_links_copies_what_a_retry_had_no_time_for(
    staged: TestClient, aws: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = half_done(staged, aws)
    with monkeypatch.context() as patch:
        patch.setattr(service, "COPY_BUDGET_S", -1.0)
        new = staged.post(URL, json={"retry_of": old}).json()["batch_id"]
    assert list(aws.staging.uploaded(f"in/i/{new}/")) == []

    files = staged.post(f"{URL}/{new}/files/links").json()["files"]

    assert [file["number"] for file in files] == [1]
    assert [stored.key for stored in aws.staging.uploaded(f"in/i/{new}/")] == [f"in/i/{new}/00000"]


def test_an_upload_that_was_not_what_was_declared_is_not_copied(staged: TestClient, aws: Account) -> None:
    old = declared(staged, 1)
    upload(aws, old, 0)
    aws.jobs.settle(old, 0, FileState.FAILED, {"code": WrongDigest.code})
    staged.post(f"{URL}/{old}/close")

    new = staged.post(URL, json={"retry_of": old}).json()["batch_id"]

    assert [file["number"] for file in staged.post(f"{URL}/{new}/files/links").json()["files"]] == [0]


def test_a_retry_of_a_purged_batch_needs_every_upload(
    staged: TestClient, monkeypatch: pytest.MonkeyPatch, aws: Account
) -> None:
    old = half_done(staged, aws)
    monkeypatch.setattr(service, "COPY_BUDGET_S", -1.0)
    new = staged.post(URL, json={"retry_of": old}).json()["batch_id"]
    staged.delete(f"{URL}/{old}?purge=true")

    files = staged.post(f"{URL}/{new}/files/links").json()["files"]

    assert [file["number"] for file in files] == [0, 1]


def test_a_copy_is_of_one_version_and_a_deleted_one_is_not_copied(aws: Account) -> None:
    aws.staging.write("in/a", DATA, "image/png")
    (first,) = aws.staging.uploaded("in/")
    aws.staging.write("in/a", b"later", "image/png")

    assert aws.staging.copy(first, "in/b")
    assert aws.staging.read(Stored("in/b"), max_bytes=100) == DATA
    assert not aws.staging.copy(Stored("in/gone"), "in/c")
    aws.staging.erase("in/a")
    assert not aws.staging.copy(first, "in/c")


class TakenKey:
    """S3 in which the key of the copy exists; the account in memory would overwrite it despite If-None-Match."""

    def copy_object(self, **arguments: Any) -> None:  # noqa: ANN401 - S3's
        assert arguments["IfNoneMatch"] == "*"
        raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "CopyObject")


def test_an_existing_copy_counts_as_copied() -> None:
    assert Staging(TakenKey(), "bucket").copy(Stored("in/a"), "in/b")


def test_a_number_that_was_reserved_but_never_written_is_not_repeated(staged: TestClient, aws: Account) -> None:
    batch = half_done(staged, aws)
    aws.clients.dynamodb.delete_item(TableName=aws.settings.table, Key=file_key(batch, 2))
    aws.jobs.fill_gap(row(aws, batch), 2)

    assert staged.post(URL, json={"retry_of": batch}).json()["expected_files"] == 1


@pytest.mark.provokes("batch.unfinished", "batch.nothing_to_retry")
def test_rejects_retries_of_unfinished_and_successful_batches(staged: TestClient, aws: Account) -> None:
    batch = declared(staged, 1)

    problem(staged.post(URL, json={"retry_of": batch}), 409, "batch.unfinished")
    aws.jobs.settle(batch, 0, FileState.OK, DONE)
    staged.post(f"{URL}/{batch}/close")
    problem(staged.post(URL, json={"retry_of": batch}), 409, "batch.nothing_to_retry")


def every_route(client: TestClient, batch: str) -> Iterator[Answer]:
    yield declare(client, batch, [declaration()])
    yield client.post(f"{URL}/{batch}/files/links")
    yield client.post(f"{URL}/{batch}/close")
    yield client.get(f"{URL}/{batch}")
    yield client.get(f"{URL}/{batch}/results")
    yield client.delete(f"{URL}/{batch}")
    yield client.delete(f"{URL}/{batch}?purge=true")
    yield client.post(URL, json={"retry_of": batch})


@pytest.mark.contract("owner")
@pytest.mark.provokes("batch.not_found")
@pytest.mark.parametrize("batch", [NOBODYS, "1", "01j00000000000000000000000", NOBODYS + "%0A", "META", "%2E%2E"])
def test_another_principals_batch_is_not_found(staged: TestClient, aws: Account, batch: str) -> None:
    mine, theirs = caller(staged.app, "me"), caller(staged.app, "they")
    their_batch = half_done(theirs, aws)
    before = everything(aws)

    for foreign, absent in zip(every_route(mine, their_batch), every_route(mine, batch), strict=True):
        bodies = [problem(answer, 404, "batch.not_found") for answer in (foreign, absent)]
        assert bodies[0].pop("request_id") != bodies[1].pop("request_id")
        assert bodies[0] == bodies[1]
        known = [{name for name in answer.headers if name != "x-request-id"} for answer in (foreign, absent)]
        assert known[0] == known[1]

    assert everything(aws) == before
    assert theirs.get(f"{URL}/{their_batch}").status_code == 200


def authorised(event: Event, **context: object) -> Event:
    event["requestContext"] |= context
    return event


CREATE = HttpRequest(URL, headers={"content-type": "application/json"}, body=b'{"expected_files": 1}')
CLAIMS = {"iss": "https://idp.example", "sub": "user-1", "email": "someone@example.com"}
ROLE = "arn:aws:sts::123456789012:assumed-role/radiology"
USER = "arn:aws:iam::123456789012:user/staff/anna"


@pytest.mark.contract("owner")
@pytest.mark.parametrize(
    ("event", "who"),
    [
        (authorised(http_api_v2(CREATE), authorizer={"jwt": {"claims": CLAIMS}}), "jwt https://idp.example user-1"),
        (authorised(http_api_v2(CREATE), authorizer={"iam": {"userArn": f"{ROLE}/anna"}}), f"iam {ROLE}"),
        (authorised(http_api_v2(CREATE), authorizer={"iam": {"userArn": USER}}), f"iam {USER}"),
        (authorised(rest_api_v1(CREATE), authorizer={"claims": CLAIMS}), "jwt https://idp.example user-1"),
        (authorised(rest_api_v1(CREATE), identity={"userArn": f"{ROLE}/anna"}), f"iam {ROLE}"),
        (http_api_v2(CREATE), "anonymous"),
        (rest_api_v1(CREATE), "anonymous"),
        (authorised(rest_api_v1(CREATE), authorizer=None, identity={"userArn": None}), "anonymous"),
    ],
)
def test_the_principal_is_what_the_gateway_verified(
    staged: TestClient, aws: Account, lines: Callable[[], list[dict[str, Any]]], event: Event, who: str
) -> None:
    context = LambdaContext()

    answer = answer_json(Mangum(staged.app, lifespan="off")(event, context))  # type: ignore[arg-type]

    assert row(aws, answer["batch_id"]).owner == who
    assert lines() == [
        {
            "who": f"{who}/anna" if who == f"iam {ROLE}" else who,
            "action": "batch.create",
            "batch": answer["batch_id"],
            "items": None,
            "outcome": "ok",
            "status": 201,
            "request_id": context.aws_request_id,
        }
    ]


@pytest.mark.provokes("principal.unknown")
@pytest.mark.parametrize(
    "authorizer", [{"lambda": {"user": "x"}}, {"jwt": {"claims": {"iss": "https://idp.example"}}}, {"principalId": "x"}]
)
def test_an_authorizer_without_a_principal_is_not_anonymous(
    staged: TestClient, lines: Callable[[], list[dict[str, Any]]], authorizer: dict[str, Any]
) -> None:
    event = authorised(http_api_v2(CREATE), authorizer=authorizer)

    answer = Mangum(staged.app, lifespan="off")(event, LambdaContext())  # type: ignore[arg-type]

    assert answer["statusCode"] == 403
    assert answer_json(answer)["code"] == "principal.unknown"
    assert (lines()[0]["who"], lines()[0]["outcome"]) == (None, "principal.unknown")


@pytest.mark.contract("audit")
def test_one_audit_line_for_each_access_and_no_file_name(
    staged: TestClient, lines: Callable[[], list[dict[str, Any]]], caplog: pytest.LogCaptureFixture, aws: Account
) -> None:
    batch = half_done(staged, aws)
    before = len(lines())

    answers = [
        staged.get(f"{URL}/{batch}/results"),
        staged.get(f"{URL}/{NAME}"),
        declare(staged, batch, [declaration()]),
    ]
    list(every_route(staged, batch))

    assert [(line["action"], line["batch"], line["outcome"]) for line in lines()[before:]] == [
        ("batch.results", batch, "ok"),
        ("batch.status", None, "batch.not_found"),
        ("batch.declare", batch, "batch.closed"),
        ("batch.declare", batch, "batch.closed"),
        ("batch.links", batch, "batch.closed"),
        ("batch.close", batch, "ok"),
        ("batch.status", batch, "ok"),
        ("batch.results", batch, "ok"),
        ("batch.cancel", batch, "ok"),
        ("batch.purge", batch, "ok"),
        ("batch.create", None, "batch.not_found"),
    ]
    assert [line["items"] for line in lines()[:before]] == [None, "0-2", None]  # opened, declared, closed
    assert [line["items"] for line in lines()[before:] if line["action"] == "batch.results"] == ["0-2", "0-2"]
    assert [line["request_id"] for line in lines()[before:]][:3] == [each.headers["x-request-id"] for each in answers]
    assert {line["who"] for line in lines()} == {"local"}
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    assert len(ours) >= len(lines())
    assert [line for line in ours if "thorax" in line or "X-Amz-Signature" in line] == []


def test_an_audit_line_of_an_unexpected_error(
    staged: TestClient, lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(service.BatchService, "find", broken)

    problem(staged.get(f"{URL}/{NOBODYS}"), 500, "internal")
    assert lines()[0]["outcome"] == "internal"


def assert_passing(answer: Answer, caplog: pytest.LogCaptureFixture, cause: str) -> None:
    body = problem(answer, 503, "staging.unavailable")
    assert answer.headers["retry-after"] == "30"
    assert body["detail"] == "the storage of staged batches does not answer: try again"
    assert cause in caplog.text
    assert cause not in answer.text


def test_a_missing_table_is_a_503(staged: TestClient, aws: Account, caplog: pytest.LogCaptureFixture) -> None:
    aws.clients.dynamodb.delete_table(TableName=aws.settings.table)

    for answer in [staged.post(URL, json={"expected_files": 1}), *every_route(staged, NOBODYS)]:
        assert_passing(answer, caplog, "ResourceNotFoundException")


def test_a_missing_bucket_is_a_503(staged: TestClient, aws: Account, caplog: pytest.LogCaptureFixture) -> None:
    batch = declared(staged)
    aws.clients.s3.delete_bucket(Bucket=aws.settings.bucket)

    assert_passing(staged.post(f"{URL}/{batch}/files/links"), caplog, "NoSuchBucket")


def test_an_unreachable_endpoint_is_a_503(
    staged: TestClient, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HEATLENS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    assert_passing(make_client().get(f"{URL}/{NOBODYS}"), caplog, "EndpointConnectionError")


def assert_not_set_up(client: TestClient) -> None:
    answers = [client.post(URL, json={"expected_files": 1}), client.post(URL, content=b"{"), *every_route(client, "1")]
    for answer in answers:
        body = problem(answer, 503, "staging.unavailable")
        assert body["detail"] == "staged batches are not set up on this server"
        assert "retry-after" not in answer.headers


@pytest.mark.parametrize("missing", ["HEATLENS_BUCKET", "HEATLENS_TABLE"])
def test_without_a_bucket_and_a_table_there_is_no_staging(
    staged: TestClient, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.delenv(missing)

    assert_not_set_up(make_client())


def test_under_sam_local_without_an_endpoint_there_is_no_staging(
    staged: TestClient, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SAM_LOCAL", "true")

    assert_not_set_up(make_client())
    monkeypatch.setenv("HEATLENS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert make_client().app.state.batches is not None  # type: ignore[attr-defined]


def test_without_a_model_no_batch_is_opened(staged: TestClient, make_client: MakeClient, tmp_path: Any) -> None:  # noqa: ANN401
    client = make_client(model_dir=tmp_path / "gone")

    problem(client.post(URL, json={"expected_files": 1}), 503, "model.unavailable")


PROGRAM = """
import sys
from starlette.testclient import TestClient
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
client = TestClient(create_app(ServerSettings(), deployment="server"))
code = client.get("/api/inference/batches/x").json()["code"]
print(code, "boto3" in sys.modules)
"""


@pytest.mark.parametrize(("bucket", "expected"), [("", "staging.unavailable False"), ("b", "batch.not_found True")])
def test_only_a_server_with_staging_loads_boto3_and_audit_lines_need_no_logging_setup(
    bucket: str, expected: str
) -> None:
    environment = os.environ | {"HEATLENS_BUCKET": bucket, "HEATLENS_TABLE": "t"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == expected
    assert done.stderr.count('"action": "batch.status"') == 1


def test_status_responds_while_another_process_finishes_the_batch(
    staged: TestClient, aws: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = declared(staged, 1)
    upload(aws, batch, 0)
    staged.post(f"{URL}/{batch}/close")
    aws.jobs.settle(batch, 0, FileState.OK, DONE)

    def met(*_: object) -> None:
        raise ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Staging, "write_once", met)
        answer = staged.get(f"{URL}/{batch}")

    assert (answer.status_code, answer.json()["state"]) == (200, "running")
    assert staged.get(f"{URL}/{batch}").json()["state"] == "succeeded"
