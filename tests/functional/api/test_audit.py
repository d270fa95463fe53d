"""One audit line for each request to each route: the person, the action, the outcome, and never a name."""

import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from mangum import Mangum
from starlette.testclient import TestClient

from heatlens_aws.settings import AwsSettings
from heatlens_cli.events.http_events import HttpRequest, LambdaContext, http_api_v2
from heatlens_web import audit
from heatlens_web.app import create_app
from heatlens_web.principal import KEY_NAME
from heatlens_web.settings import ServerSettings
from tests.functional.conftest import MakeClient
from tests.support.aws import Account
from tests.support.images import encoded, noise
from tests.support.paths import ROOT

BATCH = "01J00000000000000000000000"
NAME = "Mueller_Juergen.png"
SESSION = "arn:aws:sts::123456789012:assumed-role/radiology/anna@example.org"
FIELDS = {"who", "action", "batch", "items", "outcome", "status", "request_id"}
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """Return the audit lines so far."""
    caplog.set_level(logging.INFO)
    return lambda: [json.loads(record.message) for record in caplog.records if record.name == "heatlens.audit"]


@pytest.fixture
def server(aws: Account, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The plain server's application, which has every route, with staging."""
    monkeypatch.setenv("HEATLENS_BUCKET", aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", aws.settings.table)
    return create_app(ServerSettings(model_dir=tiny_folder), deployment="server")


def flat(routes: Sequence[Any]) -> Iterator[Any]:
    """The routes of an application, those of included routers too."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        yield from flat(inner.routes) if inner else [route]


def routes(app: FastAPI) -> Iterator[tuple[str, str, str]]:
    """Each method and address of an application, and the action of its line."""
    for route in flat(app.routes):
        path = re.sub(r"\{\w+(:\w+)?\}", "x", getattr(route, "path", "/").replace("{batch_id}", BATCH))
        if isinstance(route, APIRoute) and route.operation_id:
            operation = route.operation_id
            action = f"batch.{operation[6:]}" if operation.startswith("batch_") else operation
            yield from ((method, path, action) for method in sorted(route.methods or ()))
        else:
            files = {"/static": "/static/js/app.js", "/static/colormaps": "/static/colormaps/jet.rgb"}
            yield "GET", files.get(path, path), "page"


def test_the_documented_query_finds_every_route_that_answers_of_an_image(server: FastAPI) -> None:
    page = (ROOT / "infra" / "operations.md").read_text()
    [listed] = re.findall(r"\| filter action in \[(.*?)\]", page, re.DOTALL)
    posted = {action for method, _, action in routes(server) if method == "POST" and not action.startswith("batch.")}

    assert set(re.findall(r'"([^"]+)"', listed)) == posted | {"batch.results", "batch.purge"}


def test_every_route_writes_exactly_one_line(server: FastAPI, lines: Lines) -> None:
    client = TestClient(server, raise_server_exceptions=False)
    walked = list(routes(server))
    assert len(walked) > 25
    for method, path, action in walked:
        before = len(lines())
        answer = client.request(method, path)

        written = lines()[before:]
        assert len(written) == 1, (method, path)
        [line] = written
        assert set(line) == FIELDS
        assert (line["status"], line["request_id"]) == (answer.status_code, answer.headers["x-request-id"])
        expected = "batch.cancel" if action == "batch.delete" else action
        assert line["action"] == expected, (method, path)
        ended = "ok" if answer.status_code < 400 else answer.json()["code"]
        assert line["outcome"] == ended, (method, path)
        assert line["batch"] == (BATCH if BATCH in path else None)


@pytest.mark.parametrize(
    ("method", "path", "action", "outcome"),
    [
        ("HEAD", "/api/inference/health", "health", "ok"),
        ("DELETE", f"/api/inference/batches/{BATCH}?purge=true", "batch.purge", "batch.not_found"),
        ("POST", f"/api/inference/batches/{BATCH}/files", "batch.declare", "request.invalid"),
        ("GET", "/api/inference/nothing", "unknown", "http.not_found"),
        ("PUT", "/api/inference/heatmap", "heatmap", "http.method_not_allowed"),
        ("GET", "/static/../secret", "unknown", "http.not_found"),
    ],
)
def test_requests_that_reach_no_route_have_a_line_too(
    server: FastAPI, lines: Lines, method: str, path: str, action: str, outcome: str
) -> None:
    TestClient(server, raise_server_exceptions=False).request(method, path)

    [line] = lines()
    assert (line["action"], line["outcome"]) in {(action, outcome), ("unknown", outcome)}


@pytest.mark.parametrize(
    ("headers", "who", "outcome"),
    [
        ({"host": "here"}, None, "principal.api_key"),
        ({"host": "elsewhere", "x-api-key": "k" * 16}, "key ward", "request.host"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "action", "route"),
    [
        ("POST", "/api/inference/heatmap", "heatmap", "/api/inference/heatmap"),
        (
            "GET",
            f"/api/inference/batches/{BATCH}/results",
            "batch.results",
            "/api/inference/batches/{batch_id}/results",
        ),
        ("PUT", "/api/inference/predict", "predict", "/api/inference/predict"),
        ("POST", "/v1/models/tiny:explain", "kserve_explain", "/v1/models/{name:model}:explain"),
        ("GET", "/nothing", "unknown", "other"),
    ],
)
def test_a_request_that_is_refused_before_its_route_is_named_after_it(
    server: FastAPI,
    tiny_folder: Path,
    lines: Lines,
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
    who: str | None,
    outcome: str,
    method: str,
    path: str,
    action: str,
    route: str,
) -> None:
    settings = {"model_dir": tiny_folder, "api_keys": f"ward={'k' * 16}", "allowed_hosts": "here"}
    app = create_app(ServerSettings.model_validate(settings), deployment="server")
    TestClient(app).request(method, path, headers=headers)

    [line] = lines()
    assert (line["who"], line["action"], line["outcome"]) == (who, action, outcome)
    assert line["batch"] == (BATCH if BATCH in path else None)
    [access] = [vars(record)["access"] for record in caplog.records if record.name == "heatlens.access"]
    assert access["route"] == route


def test_where_keys_are_needed_an_open_address_names_the_key_or_nobody(tiny_folder: Path, lines: Lines) -> None:
    settings = {"model_dir": tiny_folder, "api_keys": f"ward={'k' * 16}"}
    client = TestClient(create_app(ServerSettings.model_validate(settings), deployment="server"))
    client.get("/api/inference/health")
    client.get("/api/inference/health", headers={"x-api-key": "k" * 16})

    assert [line["who"] for line in lines()] == [None, "key ward"]


def test_images_are_counted_and_their_names_are_not_logged(
    make_client: MakeClient, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client()
    files = [("files", (NAME, encoded(noise((40, 30))), "image/png"))] * 3
    client.post("/api/inference/heatmap-batch", files=files)
    client.post("/api/inference/predict", files={"file": files[0][1]})

    assert [(line["action"], line["items"], line["outcome"]) for line in lines()] == [
        ("heatmap_batch", "0-2", "ok"),
        ("predict", "0-0", "ok"),
    ]
    assert "Mueller" not in "".join(record.getMessage() for record in caplog.records if "httpx" not in record.name)


def test_an_assumed_role_is_named_with_its_session(make_client: MakeClient, lines: Lines) -> None:
    event = http_api_v2(HttpRequest("/api/inference/health", method="GET"))
    event["requestContext"]["authorizer"] = {"iam": {"userArn": SESSION}}
    context = LambdaContext()

    Mangum(make_client().app, lifespan="off")(event, context)  # type: ignore[arg-type]

    [line] = lines()
    assert line == {
        "who": f"iam {SESSION}",
        "action": "health",
        "batch": None,
        "items": None,
        "outcome": "ok",
        "status": 200,
        "request_id": context.aws_request_id,
    }


def test_an_api_key_is_named_by_its_name(make_client: MakeClient, lines: Lines) -> None:
    app = make_client().app

    async def checked(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        await app({**scope, KEY_NAME: "pacs"}, receive, send)

    TestClient(checked).get("/api/inference/health")

    assert lines()[0]["who"] == "key pacs"


def test_a_refused_key_is_nobody(tiny_folder: Path, lines: Lines) -> None:
    settings = ServerSettings(model_dir=tiny_folder, api_keys="pacs=0123456789abcdef")
    client = TestClient(create_app(settings, deployment="server"))
    client.get("/api/inference/models")
    client.get("/api/inference/models", headers={"x-api-key": "0123456789abcdef"})

    assert [(line["who"], line["status"]) for line in lines()] == [(None, 401), ("key pacs", 200)]


def test_an_unexpected_error_has_its_line(
    make_client: MakeClient, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("heatlens_web.routes.health_of", broken)

    assert make_client().get("/api/inference/health").status_code == 500
    [line] = lines()
    assert (line["action"], line["outcome"], line["status"]) == ("health", "internal", None)


def test_with_a_log_group_lines_go_there_and_nowhere_else(aws: Account, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stored: list[str] = []
    settings = AwsSettings(audit_log_group="audits")
    try:
        audit.configure_audit_logger(settings)
        audit.configure_audit_logger(settings)
        [handler] = audit.audit.handlers
        handler.emit = lambda record: stored.append(record.getMessage())  # type: ignore[method-assign]
        audit.audit.info("line")
    finally:
        audit.configure_audit_logger(AwsSettings())

    assert stored == ["line"]
    assert [record for record in caplog.records if record.name == "heatlens.audit"] == []
    assert audit.audit.propagate


def test_the_placeholder_name_of_sam_local_is_no_log_group() -> None:
    assert AwsSettings(audit_log_group="g").has_audit_group
    assert not AwsSettings(audit_log_group="AuditLogs", AWS_SAM_LOCAL=True).has_audit_group
