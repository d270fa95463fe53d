from starlette.types import Message, Receive, Scope, Send

from heatlens_web.security_headers import HEADERS, SecurityHeaders, page_headers
from tests.support.coroutines import awaited


def headers_of(own: list[tuple[bytes, bytes]]) -> dict[str, str]:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        raise AssertionError("no body is read")

    async def send(message: Message) -> None:
        sent.append(message)

    awaited(SecurityHeaders(app)({"type": "http"}, receive, send))
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_headers_are_added_to_a_response() -> None:
    assert headers_of([]) == dict(HEADERS)


def test_headers_that_a_response_has_are_kept() -> None:
    assert headers_of([(b"cache-control", b"no-cache")])["cache-control"] == "no-cache"


def test_a_page_may_connect_to_its_server_and_to_the_bucket() -> None:
    assert "connect-src 'self'; " in page_headers()["content-security-policy"]
    assert "connect-src 'self' https://b.example; " in page_headers("https://b.example")["content-security-policy"]
