"""Redirects, without a network: where a request goes next, and what it carries."""

import httpx2
import pytest

from heatlens.client.errors import RedirectRefused, UnexpectedAnswer
from heatlens.client.exchange import Step, parse, request


def next_step(status: int, location: str, *, of: str = "https://api.example/api/inference/heatmap") -> Step:
    """The request that a client makes after a redirect."""
    call = request(Step("POST", of, json="image"))
    first = next(call)
    assert isinstance(first, Step)
    response = httpx2.Response(status, headers={"location": location}, request=httpx2.Request(first.method, of))
    step = call.send(response)
    assert isinstance(step, Step)
    return step


@pytest.mark.parametrize(
    ("location", "bare"),
    [
        ("https://bucket.example/reply/1", True),
        ("https://api.example:8443/reply/1", True),
        ("https://api.example/reply/1", False),
        ("https://api.example:443/reply/1", False),
        ("/reply/1", False),
    ],
)
def test_a_stored_answer_is_fetched_with_credentials_from_the_same_host_only(location: str, *, bare: bool) -> None:
    step = next_step(303, location)

    assert (step.method, step.json, step.bare) == ("GET", None, bare)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_request_itself_is_repeated_on_the_same_host_only(status: int) -> None:
    step = next_step(status, "/v1/api/inference/heatmap")

    assert (step.method, step.json, str(step.url)) == (
        "POST",
        "image",
        "https://api.example/v1/api/inference/heatmap",
    )
    with pytest.raises(RedirectRefused, match=r"to https://other\.example: give the client that address"):
        next_step(status, "https://other.example/")
    assert next_step(status, "https://api.example/", of="http://api.example/").bare is False, "to https"


@pytest.mark.parametrize("status", [303, 307])
def test_nothing_leaves_an_encrypted_connection(status: int) -> None:
    with pytest.raises(RedirectRefused, match="which is not encrypted"):
        next_step(status, "http://api.example/reply/1")


def test_an_answer_of_another_form_is_named() -> None:
    with pytest.raises(UnexpectedAnswer, match=r"https://api\.example does not answer like a Heatlens server"):
        parse(dict[str, int], b'{"a": "b"}', httpx2.URL("https://api.example/x"))
