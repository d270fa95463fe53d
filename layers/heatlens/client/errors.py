"""Errors that the client raises, in a tree that mirrors the API's codes.

ClientError                       everything below; a HeatlensError
├── ApiError                      the server answered with an error
│   ├── InvalidImage              input.*: one image cannot be used
│   ├── LimitExceeded             limit.*: something is over a limit of the server
│   ├── InvalidRequest            request.*, idempotency.*: an option, a name or the body is wrong
│   ├── AccessDenied              principal.*, 401, 403
│   ├── NotFound                  batch.not_found, model.not_found, 404
│   ├── BatchConflict             batch.*: the state of the staged batch does not allow this
│   ├── Unavailable               server.*, staging.*, quota.*, model.unavailable, deadline, memory, 429, 502 to 504
│   └── ServerError               generation.failed, internal, and anything else
├── NoConnection                  the server cannot be reached, or the connection broke off at every try
├── RedirectRefused               the server redirects to where the client does not follow
├── UnexpectedAnswer              the answer is not that of a Heatlens server
├── TransferFailed                the storage refused an upload or a download
└── CannotSign                    requests cannot be signed for IAM

`code` of an error of a gateway is empty.
"""

from typing import Any

import httpx2

from heatlens.errors import HeatlensError

RETRYABLE = {408, 429, 500, 502, 503, 504}


class ClientError(HeatlensError):
    """The client cannot do what was requested; `retryable` says whether it may succeed later."""

    code: str = ""  # type: ignore[misc]  # the server's, so an instance's own
    status: int | None = None
    request_id: str | None = None


class ApiError(ClientError):
    """The server answered with an error.

    `code` is the API's stable code, `status` the HTTP status, `detail` the server's sentence, `request_id` that of its
    log; `mistakes` has `loc`, `msg` and `type` of each wrong value.
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str = "",
        status: int | None = None,
        request_id: str | None = None,
        retryable: bool = False,
        mistakes: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(f"the server refused ({status}): {detail}" if status else detail)
        self.code, self.status, self.request_id, self.retryable = code, status, request_id, retryable
        self.mistakes = mistakes or []
        self._detail = detail

    @property
    def detail(self) -> str:
        """The server's sentence: what is wrong, and what to do."""
        return self._detail


class InvalidImage(ApiError):
    """One image cannot be used."""


class LimitExceeded(ApiError):
    """Something is over a limit of the server."""


class InvalidRequest(ApiError):
    """An option, a name or the body is wrong."""


class AccessDenied(ApiError):
    """The caller's key, token or signature is missing or refused."""


class NotFound(ApiError):
    """There is no such batch, model or address."""


class BatchConflict(ApiError):
    """The state of the staged batch does not allow this."""


class Unavailable(ApiError):
    """The server cannot answer now."""


class ServerError(ApiError):
    """The server failed; its log has the cause."""


class NoConnection(ClientError):
    """The server cannot be reached, or the connection broke off; `sent` says whether it may have got the request."""

    retryable = True

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class RedirectRefused(ClientError):
    """The server redirects to where the client does not follow."""


class UnexpectedAnswer(ClientError):
    """The answer is not that of a Heatlens server."""


class TransferFailed(ClientError):
    """The storage refused an upload or a download; `status` is its own."""

    def __init__(self, message: str, *, status: int | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.status, self.retryable = status, retryable


class CannotSign(ClientError):
    """Requests cannot be signed for IAM: a library, the credentials or the region are missing."""


_BY_CODE: dict[str, type[ApiError]] = {
    "batch.not_found": NotFound,
    "model.not_found": NotFound,
    "model.unavailable": Unavailable,
    "generation.failed": ServerError,
    "deadline": Unavailable,
    "memory": Unavailable,
    "internal": ServerError,
}
_BY_FAMILY: dict[str, type[ApiError]] = {
    "input": InvalidImage,
    "limit": LimitExceeded,
    "request": InvalidRequest,
    "idempotency": InvalidRequest,
    "principal": AccessDenied,
    "batch": BatchConflict,
    "server": Unavailable,
    "staging": Unavailable,
    "quota": Unavailable,
}
_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    409: BatchConflict,
    413: LimitExceeded,
    422: InvalidRequest,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def class_of(code: str, status: int | None) -> type[ApiError]:
    """Choose the class of an error by its code, or of a gateway's by its status."""
    return _BY_CODE.get(code) or _BY_FAMILY.get(code.partition(".")[0]) or _BY_STATUS.get(status or 0, ServerError)


def may_pass(response: httpx2.Response) -> bool:
    """Return whether another try of the same request may succeed.

    The server's own errors say so by `Retry-After`; a gateway's by their status.
    """
    if response.status_code not in RETRYABLE:
        return False
    return "retry-after" in response.headers or not _problem(response).get("code")


def read_error(response: httpx2.Response) -> ApiError:
    """Make the error of a response, which is the server's own or a gateway's."""
    problem = _problem(response)
    code = str(problem.get("code", ""))
    detail = problem.get("detail") or problem.get("message") or response.reason_phrase or "no reason is given"
    mistakes = problem.get("errors")
    return class_of(code, response.status_code)(
        str(detail),
        code=code,
        status=response.status_code,
        request_id=problem.get("request_id") or response.headers.get("x-request-id"),
        retryable=may_pass(response),
        mistakes=mistakes if isinstance(mistakes, list) else None,
    )


def _problem(response: httpx2.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (ValueError, httpx2.ResponseNotRead):  # of a stream nothing was read
        return {}
    return body if isinstance(body, dict) else {}
