"""The client against a server that drops connections, refuses for a while, redirects and dies.

Each test counts what arrived: nothing is lost, and nothing is done twice unless that changes nothing.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from heatlens.client import AsyncClient, Client, HeatmapResult, NoConnection, RedirectRefused, ServerError, Unavailable
from heatlens.client.retries import TRIES
from tests.support.coroutines import awaited
from tests.support.faulty_server import (
    Fault,
    FaultyServer,
    answers,
    dies_during_the_answer,
    dies_during_the_upload,
    drops,
    faulty_server,
    loses_the_answer,
)

BUSY = b'{"type": "about:blank", "title": "busy", "status": 503, "detail": "wait", "code": "server.busy"}'
CREDENTIALS = {"api_key": "key-of-the-ward", "token": "token-of-the-ward", "headers": {"X-Secret": "of-the-ward"}}


@pytest.fixture
def server(server_port: int) -> Iterator[FaultyServer]:
    with faulty_server(f"http://127.0.0.1:{server_port}") as server:
        yield server


PASSING: dict[str, Fault] = {
    "drops the connection": drops,
    "loses the answer": loses_the_answer,
    "dies during the upload": dies_during_the_upload,
    "dies during the answer": dies_during_the_answer,
    "is busy": answers(503, BUSY, retry_after="0"),
    "is busy behind a gateway": answers(503, b'{"message": "Service Unavailable"}'),
    "gets too many requests": answers(429, b'{"message": "Too Many Requests"}', retry_after="0"),
    "times out at the gateway": answers(504, b""),
}


def with_threads(url: str, image: Path, **credentials: Any) -> HeatmapResult:  # noqa: ANN401 - as of the client
    with Client(url, **credentials) as client:
        return client.heatmap(image)


def with_a_loop(url: str, image: Path, **credentials: Any) -> HeatmapResult:  # noqa: ANN401 - as of the client
    async def run() -> HeatmapResult:
        async with AsyncClient(url, **credentials) as client:
            return await client.heatmap(image)

    return awaited(run())


Explain = Callable[..., HeatmapResult]
both = pytest.mark.parametrize("explain", [with_threads, with_a_loop], ids=["sync", "async"])


@both
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_is_not_seen(fault: Fault, explain: Explain, server: FaultyServer, image: Path) -> None:
    expected = explain(server.url, image)
    server.seen.clear()
    server.expect(fault, fault)
    result = explain(server.url, image)

    assert server.calls() == ["POST /api/inference/heatmap"] * 3
    assert result.png == expected.png


@both
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_stays_ends_after_a_bounded_number_of_tries(
    fault: Fault, explain: Explain, server: FaultyServer, image: Path
) -> None:
    server.expect(*[fault] * 50)

    with pytest.raises((NoConnection, Unavailable)) as caught:
        explain(server.url, image)

    assert len(server.seen) == TRIES
    assert caught.value.retryable


def test_a_failure_of_the_server_itself_is_not_repeated(server: FaultyServer, image: Path) -> None:
    server.expect(answers(500, b'{"code": "generation.failed", "detail": "no map", "request_id": "r1"}'))

    with Client(server.url) as client, pytest.raises(ServerError, match=r"refused \(500\): no map") as caught:
        client.heatmap(image)

    assert len(server.seen) == 1
    assert (caught.value.code, caught.value.request_id) == ("generation.failed", "r1")


@both
def test_a_redirect_to_a_stored_answer_carries_no_credentials(
    explain: Explain, server: FaultyServer, image: Path
) -> None:
    expected = explain(server.url, image)
    with faulty_server(None, answers(200, _as_json(server, image))) as bucket:
        server.expect(answers(303, location=f"{bucket.url}/reply/1?signature=x", set_cookie="session=secret"))
        result = explain(server.url, image, **CREDENTIALS)

    assert result.png == expected.png
    assert [(each.method, each.path) for each in bucket.seen] == [("GET", "/reply/1?signature=x")]
    [arrived] = bucket.seen
    assert arrived.body == b""
    assert "of-the-ward" not in str(arrived.headers)
    assert "secret" not in str(arrived.headers)
    assert not {"authorization", "x-api-key", "x-secret", "cookie"} & arrived.headers.keys()
    assert "of-the-ward" in str(server.seen[-1].headers), "the server itself got them"


def _as_json(server: FaultyServer, image: Path) -> bytes:
    """The answer of the server as it would be stored."""
    url = f"{server.upstream}/api/inference/heatmap?include=overlay,map"
    return httpx2.post(url, files={"file": ("scan.png", image.read_bytes())}).content


@both
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_images_and_credentials_are_not_sent_to_another_host(
    status: int, explain: Explain, server: FaultyServer, image: Path
) -> None:
    with faulty_server(server.upstream) as other:
        server.expect(answers(status, location=f"{other.url}/api/inference/heatmap"))
        with pytest.raises(RedirectRefused, match=f"redirects to {other.url}: give the client that address"):
            explain(server.url, image, **CREDENTIALS)

    assert other.seen == []


def test_a_redirect_on_the_same_host_is_followed_with_credentials(server: FaultyServer, image: Path) -> None:
    with Client(server.url, **CREDENTIALS) as client:  # type: ignore[arg-type]
        server.expect(answers(307, location="/api/inference/heatmap?include=map"))
        assert client.heatmap(image).map.ndim == 2

    assert [each.headers["x-api-key"] for each in server.seen] == ["key-of-the-ward"] * 2


def test_a_circle_of_redirects_ends(server: FaultyServer, image: Path) -> None:
    server.expect(*[answers(307, location="/api/inference/heatmap")] * 50)

    with Client(server.url) as client, pytest.raises(ServerError, match=r"refused \(307\)"):
        client.heatmap(image)

    assert len(server.seen) == 6
