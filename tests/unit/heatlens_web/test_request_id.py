import re
from types import SimpleNamespace

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from heatlens_web.request_id import RequestId, request_id


async def name(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request_id(request))


APP = RequestId(Starlette(routes=[Route("/", name)]))


def in_lambda(app: ASGIApp) -> ASGIApp:
    """Add Lambda's context to the scope, as Mangum does."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "aws.context": SimpleNamespace(aws_request_id="from-lambda")}, receive, send)

    return call


def test_a_request_on_lambda_has_lambdas_id() -> None:
    response = TestClient(in_lambda(APP)).get("/")

    assert (response.text, response.headers["x-request-id"]) == ("from-lambda", "from-lambda")


def test_each_request_elsewhere_has_a_new_id() -> None:
    responses = [TestClient(APP).get("/") for _ in range(2)]

    assert all(re.fullmatch("[0-9a-f]{32}", response.text) for response in responses)
    assert [response.headers["x-request-id"] for response in responses] == [response.text for response in responses]
    assert responses[0].text != responses[1].text


def test_a_response_without_a_route_has_an_id_too() -> None:
    response = TestClient(APP).get("/missing")

    assert response.status_code == 404
    assert response.headers["x-request-id"]
