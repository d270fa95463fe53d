"""What ends a staged file beside the errors of its image: cause -> code and sentence, as the table keeps them.

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
    """The asynchronous endpoint failed, and nobody can say more of it."""

    code = "async.failed"


class GaveUp(HeatlensError):
    """Every attempt met a trouble that was not the image's own."""

    code = "batch.gave_up"


class NoEndpoint(Exception):
    """A batch is to be explained by an endpoint, and this function knows none."""


class TryAgain(Exception):
    """Objects of an event without a queue behind it are not done; who sent it sends it again."""
