"""Conditional DynamoDB writes: what they raise, and retries where calls write the same rows at once."""

from botocore.exceptions import ClientError
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

TRIES = 8  # at a row that others write at the same time
FIRST_PAUSE_S = 0.02  # longest pause before the second try; twice that before the third, and so on
CONDITION_FAILED = "ConditionalCheckFailedException"


class InvalidTransition(Exception):
    """The row is not in a state that allows the change; nothing was changed."""


class Contended(Exception):
    """Other calls changed the row before each try; a later call may succeed."""


def error_code(error: ClientError) -> str:
    """Return the code of an error response."""
    return str(error.response["Error"]["Code"])


def cancellation_codes(error: ClientError) -> set[str | None]:
    """Return why the items of a transaction were not written."""
    return {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}


def _is_contention(error: BaseException) -> bool:
    if isinstance(error, ClientError):
        return "TransactionConflict" in cancellation_codes(error)
    return isinstance(error, Contended)


# Pauses are of random length, so that calls that collided do not collide again.
retry_contention = retry(
    retry=retry_if_exception(_is_contention),
    wait=wait_random_exponential(multiplier=FIRST_PAUSE_S),
    stop=stop_after_attempt(TRIES),
    reraise=True,
)
