"""Servers that others can reach: security headers on every answer, API keys, allowed hosts, and a warning."""

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import _IncludedRouter
from starlette.routing import Route
from starlette.testclient import TestClient

from functions.endpoint.app import create_app as create_endpoint
from heatlens.errors import SettingsError
from heatlens_cli.serve import exposure
from heatlens_web.app import STATIC, create_app
from heatlens_web.security_headers import HEADERS, page_headers
from heatlens_web.settings import Deployment, ServerSettings
from tests.support.images import encoded, noise
from tests.support.slow_clients import read_to_end, running, status

API = "/api/inference"
IMAGE = encoded(noise((30, 20)))
KEY, OTHER = "k" * 16, "o" * 16
PAGES = ("/", "/docs")

MakeClient = Callable[..., TestClient]


@pytest.fixture
def make_client(tiny_folder: Path) -> MakeClient:
    def make(deployment: Deployment = "server", **settings: object) -> TestClient:
        app = create_app(ServerSettings.model_validate({"model_dir": tiny_folder} | settings), deployment=deployment)
        return TestClient(app, raise_server_exceptions=False)

    return make


@pytest.fixture(params=["server", "lambda", "endpoint"])
def client(request: pytest.FixtureRequest, make_client: MakeClient, tiny_folder: Path) -> TestClient:
    if request.param == "endpoint":
        return TestClient(create_endpoint(ServerSettings(model_dir=tiny_folder)), raise_server_exceptions=False)
    return make_client(request.param)


def addresses(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path of an application, with a name in the place of each parameter."""
    included = [router.original_router.routes for router in app.routes if isinstance(router, _IncludedRouter)]
    for route in [*app.routes, *itertools.chain.from_iterable(included)]:
        if isinstance(route, Route):
            for method in sorted(route.methods or ()):
                yield method, re.sub(r"\{[^}]*\}", "demo", route.path)


def check_headers(response: Any, *, page: bool = False, static: bool = False) -> None:  # noqa: ANN401 - httpx
    expected = dict(HEADERS)
    if page:
        expected["content-security-policy"] = page_headers()["content-security-policy"]
    if page or static:
        expected["cache-control"] = "no-cache"
    assert {name: response.headers.get(name) for name in expected} == expected, response.request.url


def test_every_route_sends_security_headers(client: TestClient) -> None:
    assert isinstance(client.app, FastAPI)
    walked = list(addresses(client.app))
    for method, path in walked:
        response = client.request(method, path)
        check_headers(response, page=path in PAGES)
    assert len(walked) == len(set(walked)) >= 3


def test_errors_preflights_and_images_send_security_headers(make_client: MakeClient) -> None:
    client = make_client(cors_origins="https://a.example", api_keys=f"a={KEY}", allowed_hosts="testserver")
    with_key = {"x-api-key": KEY}
    preflight = {"origin": "https://a.example", "access-control-request-method": "POST"}
    image = with_key | {"accept": "image/png"}
    responses = {
        404: client.get("/nowhere", headers=with_key),
        405: client.delete(f"{API}/heatmap", headers=with_key),
        401: client.post(f"{API}/heatmap"),
        400: client.get("/", headers={"host": "other"}),
        200: client.options(f"{API}/heatmap", headers=preflight),
    }
    assert [response.status_code for response in responses.values()] == list(responses)
    drawn = client.post(f"{API}/heatmap", content=IMAGE, headers=image)
    assert drawn.headers["content-type"] == "image/png"
    for response in (*responses.values(), drawn):
        check_headers(response)


def test_an_unexpected_error_sends_security_headers(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:  # noqa: ANN401 - any
        raise RuntimeError("no")

    monkeypatch.setattr("heatlens_web.upload._from_parts", broken)

    responses = [client.post(path, content=IMAGE) for path in ("/invocations", f"{API}/heatmap")]

    assert sorted(response.status_code for response in responses) == [404, 500]
    for response in responses:
        check_headers(response)


def test_static_files_send_security_headers_and_are_revalidated(make_client: MakeClient) -> None:
    client = make_client()
    files = [path for path in STATIC.rglob("*") if path.is_file() and path.suffix != ".html"]
    assert files
    for path in files:
        response = client.get(f"/static/{path.relative_to(STATIC).as_posix()}")
        check_headers(response, static=True)
        again = client.get(str(response.request.url), headers={"if-none-match": response.headers["etag"]})
        assert again.status_code == 304
        check_headers(again, static=True)
    check_headers(client.get("/static/none.js"))


@pytest.mark.parametrize("path", PAGES)
def test_pages_load_only_what_their_policy_allows(make_client: MakeClient, path: str) -> None:
    client = make_client()
    page = client.get(path).text
    loaded = re.findall(r'<(?!a\b)[^>]*?(?:src|href)="([^"]+)"', page)
    scripts = sorted((STATIC / "js").glob("*.js"))

    assert {Path(each).name for each in loaded if each.endswith(".js")} <= {script.name for script in scripts}
    assert "style=" not in page
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=", page)
    for each in loaded:
        assert each.startswith(("static/", "data:"))
    for script in scripts:
        text = script.read_text()
        assert not re.search(
            r"\beval\(|new Function|https?://|setAttribute\(\"style|innerHTML|insertAdjacentHTML", text
        )
        assert not re.search(r"\.style\b(?!\.setProperty\()", text), script.name
        assert "createObjectURL" not in text or script.name == "keep.js"


@pytest.mark.parametrize("kind", ["serve", "endpoint"])
def test_answers_outside_of_any_request_send_security_headers(kind: Any, tiny_folder: Path) -> None:  # noqa: ANN401
    with running(kind, tiny_folder, HEATLENS_CONNECTIONS="1", HEATLENS_STALL_S="600") as served:
        with served.connect() as client:
            client.sendall(b"no HTTP at all\r\n\r\n")
            broken = read_to_end(client)
        upload = served.begin_upload()
        full = served.get()
        upload.close()

    assert (status(broken), status(full)) == (400, 503)
    assert b"\r\nretry-after: 30\r\n" in full
    for name, value in HEADERS.items():
        for answer in (broken, full):
            assert f"\r\n{name}: {value}\r\n".encode() in answer


@pytest.mark.provokes("principal.api_key")
@pytest.mark.parametrize("headers", [{}, {"x-api-key": OTHER}, {"authorization": f"Basic {KEY}"}])
def test_without_a_known_key_every_route_but_pages_and_health_answers_401(
    make_client: MakeClient, headers: dict[str, str]
) -> None:
    client = make_client(api_keys=f"ward={KEY}")
    assert isinstance(client.app, FastAPI)
    answered = set()
    for method, path in addresses(client.app):
        response = client.request(method, path, headers=headers)
        if response.status_code == 401:
            assert response.json()["code"] == "principal.api_key"
            assert response.headers["content-type"] == "application/problem+json"
            assert response.headers["www-authenticate"] == "Bearer"
            assert KEY not in response.text
            assert response.json()["request_id"] == response.headers["x-request-id"]
        else:
            answered.add(path)

    health = {f"{API}/health", f"{API}/ready", "/v2/health/live", "/v2/health/ready"}
    assert answered == {*PAGES, *health, "/openapi.json"}


@pytest.mark.parametrize("headers", [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}])
def test_with_a_key_requests_are_answered(make_client: MakeClient, headers: dict[str, str]) -> None:
    client = make_client(api_keys=f"ward={KEY},archive={OTHER}")

    assert client.post(f"{API}/heatmap", content=IMAGE, headers=headers).status_code == 200
    assert client.get("/v1/models", headers=headers).status_code == 200


def test_pages_and_health_are_open_below_a_base_path_too(make_client: MakeClient) -> None:
    client = make_client(api_keys=f"ward={KEY}", base_path="/x")

    assert client.get("/x/").status_code == 200
    assert client.get(f"/x{API}/health").status_code == 200
    assert client.post(f"/x{API}/heatmap").status_code == 401


@pytest.mark.parametrize("keys", ["ward=short", ",", "ward=" + "ü" * 16])
def test_wrong_keys_stop_the_start(make_client: MakeClient, keys: str) -> None:
    with pytest.raises(SettingsError, match="HEATLENS_API_KEYS"):
        make_client(api_keys=keys)


@pytest.mark.provokes("request.host")
def test_another_host_is_refused_as_a_problem(make_client: MakeClient) -> None:
    client = make_client(allowed_hosts="a.example,*.b.example")

    for host, expected in (("a.example:8000", 200), ("x.b.example", 200), ("b.example", 400), ("evil.example", 400)):
        response = client.get(f"{API}/health", headers={"host": host})
        assert response.status_code == expected
    assert response.json()["code"] == "request.host"
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("host", "keys", "warned"),
    [
        ("127.0.0.1", "", False),
        ("127.1.2.3", "", False),
        ("::1", "", False),
        ("localhost", "", False),
        ("0.0.0.0", "", True),
        ("::", "", True),
        ("10.0.0.1", "", True),
        ("server.example", "", True),
        ("0.0.0.0", f"ward={KEY}", False),
    ],
)
def test_a_server_that_others_reach_without_keys_prints_a_warning(host: str, keys: str, *, warned: bool) -> None:
    warning = exposure(host, ServerSettings.model_validate({"api_keys": keys}))

    assert (warning is not None) is warned
    if warning:
        assert "no authentication" in warning
        assert "HEATLENS_API_KEYS" in warning
