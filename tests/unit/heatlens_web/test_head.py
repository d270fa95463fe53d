from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from heatlens_web.head import HeadAsGet


async def _method(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.method)


def test_head_has_the_headers_of_get_and_no_body() -> None:
    client = TestClient(HeadAsGet(Starlette(routes=[Route("/", _method, methods=["GET", "POST"])])))

    assert (client.head("/").headers["content-length"], client.head("/").content) == ("3", b"")
    assert [client.get("/").text, client.post("/").text] == ["GET", "POST"]
