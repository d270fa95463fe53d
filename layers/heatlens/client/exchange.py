"""Requests and what follows them, without sending: redirects, errors and the form of answers.

A call is a generator that yields each `Step` to send, or what else is to be done, and receives its response. So the
sync and the async client share all of it, and only do what it yields.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, BinaryIO, TypeVar

import httpx2
from pydantic import TypeAdapter, ValidationError

from heatlens.client.errors import RedirectRefused, UnexpectedAnswer, may_pass, read_error
from heatlens.client.retries import Retryable

MAX_REDIRECTS = 5
AT_ONCE = 8  # transfers
_PORTS = {"http": 80, "https": 443}

T = TypeVar("T")
shape: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)  # what reads answers of a kind, made once


@dataclass(frozen=True, slots=True)
class Step:
    """One request to send, again where its failure may be temporary.

    `bare` requests go to a storage, or wherever the server redirects to: they carry no header, cookie or signature of
    the client. `chunks` opens a body that is too large for memory, for each try. `repeatable` requests may be repeated
    if the server may have received them. The body of a success is written to `sink` where there is one, from its
    beginning at each try.
    """

    method: str
    url: str | httpx2.URL
    headers: dict[str, str] | None = None
    chunks: Callable[[], Iterable[bytes]] | None = None
    json: Any = None
    files: Any = None
    bare: bool = False
    repeatable: bool = True
    retryable: Retryable = may_pass
    sink: BinaryIO | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Do what takes time here, such as reading a file; the async client does it in a thread."""

    do: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Together:
    """Make calls at the same time, and receive their results in order; the first error ends the others."""

    calls: "Sequence[Call[Any]]"
    at_once: int = AT_ONCE


Action = Step | Pause | Work | Together
Call = Generator[Action, Any, T]


def request(step: Step) -> Call[httpx2.Response]:
    """Send a request, follow its redirects, and return the response of a success.

    Raises:
        ApiError: The server answered with an error.
        RedirectRefused: It redirects to where no client should follow.
    """
    response: httpx2.Response = yield step
    for _ in range(MAX_REDIRECTS):
        if not response.has_redirect_location:
            break
        step = _redirected(step, response)
        response = yield step
    if not response.is_success:
        raise read_error(response)
    return response


def read(kind: type[T], step: Step) -> Call[T]:
    """Send a request and read the JSON of its answer.

    Raises:
        ApiError: The server answered with an error.
        UnexpectedAnswer: The answer has another form.
    """
    response = yield from request(step)
    return parse(kind, response.content, response.url)


def parse(kind: type[T], content: bytes, url: httpx2.URL) -> T:
    """Read the JSON of an answer.

    Raises:
        UnexpectedAnswer: It has another form.
    """
    try:
        answer: T = shape(kind).validate_json(content)
    except ValidationError as error:
        raise UnexpectedAnswer(f"{_origin(url)} does not answer like a Heatlens server: check the URL") from error
    return answer


def _redirected(step: Step, response: httpx2.Response) -> Step:
    """Return the request that a redirect asks for: the answer's own address for 303, else the same one elsewhere.

    A stored answer is fetched without credentials. Images and credentials never go to a host that the user has not
    named: a redirect of the request itself is followed on the same host only.
    """
    here = response.url
    there = here.join(response.headers["location"])
    if here.scheme == "https" and there.scheme != "https":
        raise RedirectRefused(f"{_origin(here)} redirects to {_origin(there)}, which is not encrypted")
    if response.status_code == httpx2.codes.SEE_OTHER:
        return Step("GET", there, bare=_is_elsewhere(here, there) or step.bare, sink=step.sink)
    if _is_elsewhere(here, there):
        raise RedirectRefused(f"{_origin(here)} redirects to {_origin(there)}: give the client that address")
    return replace(step, url=there)


def _is_elsewhere(here: httpx2.URL, there: httpx2.URL) -> bool:
    """Return whether two addresses are of different servers; https of the same host is the same."""
    upgrade = here.scheme == "http" and there.scheme == "https" and (_port(here), _port(there)) == (80, 443)
    return here.host != there.host or not (upgrade or (here.scheme, _port(here)) == (there.scheme, _port(there)))


def _port(url: httpx2.URL) -> int | None:
    return url.port or _PORTS.get(url.scheme)


def _origin(url: httpx2.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
