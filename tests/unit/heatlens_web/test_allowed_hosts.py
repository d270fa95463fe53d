import pytest
from starlette.types import Message, Receive, Scope, Send

from heatlens_web.allowed_hosts import AllowedHosts, host_name
from tests.support.coroutines import awaited


def is_answered(hosts: str, header: str) -> bool:
    reached = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope)

    async def receive() -> Message:
        raise AssertionError("no body is read")

    async def send(_: Message) -> None:
        pass

    scope = {"type": "http", "headers": [(b"host", header.encode())], "heatlens.request_id": "1"}
    awaited(AllowedHosts(app, hosts)(scope, receive, send))
    return bool(reached)


@pytest.mark.parametrize(
    ("hosts", "header", "expected"),
    [
        ("*", "anything", True),
        ("a.example", "a.example", True),
        ("a.example", "A.Example:8000", True),
        ("a.example", "b.a.example", False),
        ("a.example", "", False),
        ("b.example, a.example", "a.example", True),
        ("*.example", "a.b.example", True),
        ("*.example", "example", False),
        ("*.example", "badexample", False),
        ("[::1]", "[::1]:8000", True),
        ("127.0.0.1", "127.0.0.1:8000", True),
    ],
)
def test_names_are_compared_without_port_and_case(
    hosts: str,
    header: str,
    expected: bool,  # noqa: FBT001 - a parameter
) -> None:
    assert is_answered(hosts, header) is expected


def test_the_port_is_no_part_of_the_name() -> None:
    assert [host_name(each) for each in ("A:1", "a", "[::1]", "[::1]:2")] == ["a", "a", "[::1]", "[::1]"]
