"""The API below a base path, and the events that are not whole requests: situations from public reports."""

import json
import logging
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from heatlens_cli.events.http_events import (
    KINDS,
    Event,
    HttpRequest,
    LambdaContext,
    alb,
    answer_body,
    answer_json,
    http_api_v2,
    rest_api_v1,
    vpc_lattice_v2,
)
from heatlens_web.app import STATIC, create_app
from heatlens_web.event_kinds import UnknownEvent
from heatlens_web.lambda_handler import create_handler
from heatlens_web.settings import ServerSettings
from tests.support.mutations import mutations
from tests.support.paths import ROOT

RECORDED = ROOT / "tests" / "events"
Handler = Callable[[Any, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def handle(app: FastAPI) -> Handler:
    return create_handler(app)


@pytest.fixture
def below(tiny_folder: Path) -> Callable[[str], Handler]:
    """Make the function with a base path in its settings."""

    def make(base_path: str) -> Handler:
        return create_handler(
            create_app(ServerSettings(model_dir=tiny_folder, base_path=base_path), deployment="lambda")
        )

    return make


def get(path: str) -> HttpRequest:
    return HttpRequest(path, method="GET")


def of_http_api(path: str, *, stage: str = "$default", domain: str | None = None) -> Event:
    event = http_api_v2(get(path))
    event["requestContext"] |= {"stage": stage} | ({"domainName": domain} if domain else {})
    return event


def of_rest_api(path: str, seen: str, *, resource: str = "/{proxy+}", proxy: str | None = None) -> Event:
    """Make an event of a path as `path` has it and as the client sees it."""
    event = rest_api_v1(get(path))
    event["requestContext"] |= {"path": seen, "resourcePath": resource}
    proxy = proxy if proxy is not None else path.lstrip("/")
    return event | {"resource": resource, "pathParameters": {"proxy": proxy} if "proxy" in resource else None}


HEALTH = "/api/inference/health"
OWN = "api.example.com"
ADDRESSES: dict[str, tuple[Event, str]] = {
    # aws-powertools/powertools-lambda-python#621: the path begins with the stage.
    "a named stage of an HTTP API": (of_http_api(f"/prod{HEALTH}", stage="prod"), "/prod"),
    # CodeGenieApp/serverless-express#465: so it does on a custom domain, whose mapping the event lacks.
    "a custom domain of an HTTP API": (of_http_api(f"/prod{HEALTH}", stage="prod", domain=OWN), ""),
    "a stage named as the first part of a path": (of_http_api(f"/api{HEALTH}", stage="api"), "/api"),
    "the stage of a REST API": (of_rest_api(HEALTH, f"/prod{HEALTH}"), "/prod"),
    # localstack/localstack#12295 lists what AWS sends for each kind of mapping.
    "a mapping to a stage": (of_rest_api(f"/v1{HEALTH}", f"/v1{HEALTH}", proxy=HEALTH[1:]), "/v1"),
    "a mapping to all stages": (of_rest_api(f"/v1/prod{HEALTH}", f"/v1/prod{HEALTH}", proxy=HEALTH[1:]), "/v1/prod"),
    "a domain without a mapping": (of_rest_api(f"/prod{HEALTH}", f"/prod{HEALTH}", proxy=HEALTH[1:]), "/prod"),
    "a resource of its own": (of_rest_api(f"/v1{HEALTH}", f"/v1{HEALTH}", resource=HEALTH), "/v1"),
    "an HTTP API with payload 1.0": (
        of_rest_api(f"/prod{HEALTH}", f"/prod{HEALTH}", resource="$default") | {"version": "1.0"},
        "/prod",
    ),
    "a load balancer": (alb(get(HEALTH)), ""),
    "VPC Lattice": (vpc_lattice_v2(get(HEALTH)), ""),
}


@pytest.mark.parametrize(("event", "base"), ADDRESSES.values(), ids=list(ADDRESSES))
def test_the_api_is_found_below_the_gateways_base_path(handle: Handler, event: Event, base: str) -> None:
    health = handle(event, LambdaContext())
    description = handle(
        json.loads(json.dumps(event).replace(HEALTH, "/openapi.json").replace(HEALTH[1:], "openapi.json")),
        LambdaContext(),
    )

    assert (health["statusCode"], answer_json(health)["status"]) == (200, "healthy")
    assert answer_json(description).get("servers") == ([{"url": base}] if base else None)


MAPPED = {
    "a mapping that the event has not": of_http_api(f"/prod{HEALTH}", stage="prod", domain=OWN),
    "a rule of a load balancer": alb(get(f"/v1{HEALTH}")),
    "a rule of VPC Lattice": vpc_lattice_v2(get(f"/v1{HEALTH}")),
    "a path of an HTTP API": of_http_api(f"/v1{HEALTH}"),
}


@pytest.mark.parametrize("event", MAPPED.values(), ids=list(MAPPED))
def test_a_base_path_that_no_event_has_is_a_setting(below: Callable[[str], Handler], event: Event) -> None:
    handle = below("/v1")

    health = handle(event, LambdaContext())
    description = handle(json.loads(json.dumps(event).replace(HEALTH, "/openapi.json")), LambdaContext())

    assert health["statusCode"] == 200
    assert answer_json(description)["servers"] == [{"url": "/v1"}]


@pytest.mark.parametrize("path", ["/v1/api/inference/health", "/api/inference/health"])
def test_a_proxy_may_keep_or_remove_the_base_path(tiny_folder: Path, path: str) -> None:
    client = TestClient(create_app(ServerSettings(model_dir=tiny_folder, base_path="/v1"), deployment="server"))

    assert client.get(path).status_code == 200
    assert client.get(f"/v2{path}").status_code == 404
    assert client.get(f"/v1x{path}").status_code == 404


class Links(HTMLParser):
    """The links of a page, as a browser resolves them."""

    def __init__(self, address: str, text: str) -> None:
        super().__init__()
        self._base = address
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            # Anchors also name places of the page, and sources elsewhere.
            if name in ("href", "src") and value and not value.startswith(("data:", "#", "https://")):
                if tag == "base":
                    self._base = urljoin(self._base, value)
                else:
                    self.links.append(urljoin(self._base, value))


PAGES = {
    "a stage's page": ("/prod/", of_http_api("/prod/", stage="prod")),
    "a stage's page without its slash": ("/prod", of_http_api("/prod", stage="prod")),
    "a stage's docs": ("/prod/docs", of_http_api("/prod/docs", stage="prod")),
    "a mapping's page": ("/v1/", of_http_api("/prod/", stage="prod", domain=OWN)),
    "a mapping's docs": ("/v1/docs", of_http_api("/prod/docs", stage="prod", domain=OWN)),
    "a REST API's page": ("/prod/", of_rest_api("/", "/prod/", resource="/")),
    "a REST API's page without its slash": ("/prod", of_rest_api("/", "/prod", resource="/")),
    "a REST API's docs": ("/v1/docs", of_rest_api("/v1/docs", "/v1/docs", proxy="docs")),
    "no base path": ("/", of_http_api("/")),
}


@pytest.mark.parametrize(("address", "event"), PAGES.values(), ids=list(PAGES))
def test_the_links_of_a_page_stay_below_the_base_path(handle: Handler, address: str, event: Event) -> None:
    page = handle(event, LambdaContext())

    base = address.removesuffix("docs").rstrip("/")
    links = Links(f"https://host{address}", answer_body(page).decode()).links
    assert page["statusCode"] == 200
    assert links
    for link in links:
        assert link.startswith(f"https://host{base}/")
        assert handle(of_http_api(link.removeprefix(f"https://host{base}")), LambdaContext())["statusCode"] == 200


def test_the_pages_scripts_name_no_address_of_the_root() -> None:
    for script in STATIC.glob("*.js"):
        assert not re.search(r"""fetch\(["`]/|src: ["`]/""", script.read_text())


PINGS: dict[str, dict[str, Any]] = {
    "serverless-plugin-warmup": {"source": "serverless-plugin-warmup"},
    "lambda-warmer": {"warmer": True, "concurrency": 3},
    "a rule of EventBridge": {
        "version": "0",
        "id": "0",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "resources": ["arn:aws:events:us-east-1:123456789012:rule/warm"],
        "detail": {},
    },
    "EventBridge Scheduler": {
        "version": "0",
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "detail": "{}",
    },
    "the console's test event": {"key1": "value1", "key2": "value2", "key3": "value3"},
}


@pytest.mark.parametrize("event", PINGS.values(), ids=list(PINGS))
def test_a_ping_is_answered_without_work(handle: Handler, event: dict[str, Any]) -> None:
    assert handle(event, LambdaContext()) == {"warm": True}


def test_version_1_of_vpc_lattice_is_refused_by_name(handle: Handler) -> None:
    event = {"raw_path": HEALTH, "method": "GET", "headers": {}, "is_base64_encoded": False, "body": "secret"}

    with pytest.raises(UnknownEvent, match="VPC Lattice of version 1: set the target group's event version to V2"):
        handle(event, LambdaContext())


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_that_is_not_whole_is_an_unknown_event(
    handle: Handler, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    event = json.loads((RECORDED / f"{kind}.json").read_text())
    caplog.set_level(logging.CRITICAL)
    tried, answered, refused, raised = 0, 0, 0, []

    for what, mutated in mutations(event):
        tried += 1
        try:
            answered += handle(mutated, LambdaContext())["statusCode"] < 500
        except UnknownEvent:
            refused += 1
        except Exception as error:
            raised.append(f"{what}: {type(error).__name__}: {error}")

    assert raised == []
    assert answered + refused == tried > 200
    assert answered > tried / 4  # most of an event is of no importance


# A load balancer passes on the host that a client wrote.
@pytest.mark.parametrize("host", ["[::1]:8080", "a:b", "host:", ":", "a:123456", "a:80:80"])
def test_a_host_that_is_none_does_not_end_the_function(handle: Handler, host: str) -> None:
    event = alb(get(HEALTH))
    event["headers"] |= {"host": host, "x-forwarded-port": "none"}

    assert handle(event, LambdaContext())["statusCode"] == 200
