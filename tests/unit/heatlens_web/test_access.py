"""One line and one observation for each request, with its facts and nothing that a client sent."""

import logging
from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from heatlens_web.access import Access, log_access
from heatlens_web.observe import observe_requests
from heatlens_web.request_id import RequestId

SECRET = "Doe^Jane"


@pytest.fixture
def seen() -> list[Access]:
    return []


@pytest.fixture
def client(seen: list[Access]) -> Iterator[TestClient]:
    app = FastAPI()

    @app.post("/things/{name}")
    async def thing(name: str, request: Request) -> dict[str, int]:
        if name == "broken":
            raise KeyError(SECRET)
        return {"bytes": len(await request.body())}

    app.add_middleware(RequestId)
    observe_requests(app, server=False)
    app.state.observers.append(seen.append)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_a_request_is_known_by_its_route_and_not_by_its_address(client: TestClient, seen: list[Access]) -> None:
    response = client.post(f"/things/{SECRET}?name={SECRET}", content=b"12345", headers={"authorization": SECRET})

    [access] = seen
    facts = access.fields()
    assert (facts["route"], facts["status"], facts["method"]) == ("/things/{name}", 200, "POST")
    assert (facts["bytes_in"], facts["bytes_out"]) == (5, len(response.content))
    assert facts["request_id"] == response.headers["x-request-id"]
    assert SECRET not in str(facts)


@pytest.mark.parametrize(("method", "path"), [("GET", f"/no/{SECRET}"), (SECRET, "/things/1")])
def test_addresses_and_methods_that_nobody_answers_share_one_name(
    client: TestClient, seen: list[Access], method: str, path: str
) -> None:
    client.request(method, path)

    assert SECRET not in str(seen[0].fields())
    assert seen[0].status in (404, 405)


def test_an_unexpected_error_is_a_request_that_failed(client: TestClient, seen: list[Access]) -> None:
    client.post("/things/broken")

    assert (seen[0].status, seen[0].route) == (500, "/things/{name}")


def test_the_line_says_route_and_status(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "heatlens.access"):
        log_access(Access("GET", route="/x", status=200))

    assert caplog.messages[0].startswith("GET /x 200 in ")
