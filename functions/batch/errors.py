"""Errors of staged files beside those of their images, with the codes that the table keeps.

InputError
└── WrongDigest
HeatlensError
├── AsyncFailed
└── GaveUp
"""

from heatlens.errors import HeatlensError, InputError
from heatlens_aws.errors import WRONG_DIGEST


class WrongDigest(InputError):
    """The bytes are not those that were declared."""

    code = WRONG_DIGEST


class AsyncFailed(HeatlensError):
    """The asynchronous endpoint failed without saying why."""

    code = "async.failed"


class GaveUp(HeatlensError):
    """Every attempt failed for a reason other than the image itself."""

    code = "batch.gave_up"


class NoEndpoint(Exception):
    """A batch is to be explained by an asynchronous endpoint, and none is configured."""


class TryAgain(Exception):
    """Some objects of an event are not done. The event came from no queue, so its sender must send it again."""
