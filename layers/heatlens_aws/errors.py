"""Errors of staging and of a SageMaker endpoint that turns a request away.

HeatlensError
├── StagingUnavailable
├── QuotaExceeded
├── Busy
└── Stopping
"""

from heatlens.errors import HeatlensError

WRONG_DIGEST = "input.digest"  # code of a file whose uploaded bytes are not those declared


class StagingUnavailable(HeatlensError):
    """Bucket or table do not respond (`Retry-After`), or staging is not set up here (without `Retry-After`)."""

    code = "staging.unavailable"

    def __init__(self, detail: str, *, retryable: bool) -> None:
        super().__init__(detail)
        self.retryable = retryable


class QuotaExceeded(HeatlensError):
    """The principal has as many open batches, or files in flight, as it may; `Retry-After`."""

    code = "quota.exceeded"
    retryable = True


class Busy(HeatlensError):
    """The server or SageMaker endpoint holds as many requests, or bytes of them, as it may; `Retry-After`."""

    code = "server.busy"
    retryable = True


class Stopping(HeatlensError):
    """The server is shutting down: it finishes its requests and accepts no new ones; `Retry-After`."""

    code = "server.stopping"
    retryable = True
