"""Errors mirror the API's codes: every code that a response can carry has its class."""

import httpx2
import pytest

from heatlens.client import errors
from heatlens.client.errors import (
    AccessDenied,
    ApiError,
    BatchConflict,
    InvalidImage,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    ServerError,
    Unavailable,
    class_of,
    may_pass,
    read_error,
)
from heatlens.errors import HeatlensError
from heatlens_web.problems import status_of
from infra.make_tables import response_errors

# The class of each status of the server's own errors; a code's class is found by its name.
BY_STATUS: dict[int, set[type[ApiError]]] = {
    400: {InvalidImage, InvalidRequest},
    401: {AccessDenied},
    403: {AccessDenied},
    404: {NotFound},
    406: {InvalidRequest},
    408: {InvalidRequest},
    409: {BatchConflict},
    413: {LimitExceeded},
    415: {InvalidRequest},
    422: {InvalidRequest},
    429: {Unavailable},
    500: {ServerError},
    503: {Unavailable},
    504: {Unavailable},
}


@pytest.mark.parametrize("error", response_errors(), ids=lambda error: error.code)
def test_every_code_has_a_class_that_fits_its_status(error: type[HeatlensError]) -> None:
    kind = class_of(error.code, None)

    assert kind in BY_STATUS[status_of(error)]
    assert kind is not ServerError or error.code in ("generation.failed", "internal"), "name it in errors.py"


def test_an_error_has_what_the_server_says() -> None:
    mistakes = [{"loc": ["query", "alpha"], "msg": "too large", "type": "less_than"}]
    problem = {"detail": "alpha: too large", "code": "request.invalid", "request_id": "r1", "errors": mistakes}
    error = read_error(httpx2.Response(422, json=problem))

    assert isinstance(error, InvalidRequest)
    assert (error.code, error.status, error.request_id, error.mistakes) == ("request.invalid", 422, "r1", mistakes)
    assert (str(error), error.detail) == ("the server refused (422): alpha: too large", "alpha: too large")
    assert not error.retryable


@pytest.mark.parametrize(
    ("response", "kind", "detail"),
    [
        (httpx2.Response(403, json={"message": "Forbidden"}), AccessDenied, "Forbidden"),
        (httpx2.Response(403, json={"Message": "Forbidden"}), AccessDenied, "Forbidden"),
        (httpx2.Response(404, json={"message": "Not Found"}), NotFound, "Not Found"),
        (httpx2.Response(413, json={"message": "Request Too Long"}), LimitExceeded, "Request Too Long"),
        (httpx2.Response(429, json={"message": "Too Many Requests"}), Unavailable, "Too Many Requests"),
        (httpx2.Response(502, content=b"<html>"), Unavailable, "Bad Gateway"),
        (httpx2.Response(504, json=[]), Unavailable, "Gateway Timeout"),
        (httpx2.Response(418, json={}), ServerError, "I'm a teapot"),
        (httpx2.Response(599), ServerError, "no reason is given"),
    ],
)
def test_an_error_of_a_gateway_is_classed_by_its_status(
    response: httpx2.Response, kind: type[ApiError], detail: str
) -> None:
    error = read_error(response)

    assert type(error) is kind
    assert (error.code, error.detail) == ("", detail)
    assert error.retryable is (response.status_code in (429, 502, 504))


@pytest.mark.parametrize(
    ("status", "code", "retry_after", "passes"),
    [
        (503, "staging.unavailable", False, False),
        (503, "server.busy", True, True),
        (429, "quota.exceeded", True, True),
        (500, "generation.failed", False, False),
        (500, "", False, True),
        (422, "request.invalid", True, False),
        (404, "", False, False),
    ],
)
def test_the_servers_own_errors_say_whether_they_pass(
    status: int, code: str, *, retry_after: bool, passes: bool
) -> None:
    headers = {"retry-after": "1"} if retry_after else {}

    assert may_pass(httpx2.Response(status, json={"code": code}, headers=headers)) is passes


def test_the_tree_in_the_docstring_is_that_of_the_classes() -> None:
    drawn = {line.strip("├└│─ ").split()[0] for line in (errors.__doc__ or "").splitlines() if "──" in line}
    classes = {each.__name__ for each in vars(errors).values() if isinstance(each, type)}

    assert drawn == {name for name in classes if name not in ("Any", "HeatlensError", "ClientError")}
