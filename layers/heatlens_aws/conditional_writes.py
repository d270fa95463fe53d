"""Conditional DynamoDB writes: what they raise, and retries where calls meet at a row or the table throttles them."""

from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import ClientError
from tenacity import retry, retry_if_exception, stop_after_attempt, stop_before_delay, wait_random_exponential

TRIES = 8  # at a row that others write at the same time
FIRST_PAUSE_S = 0.02  # longest pause before the second try; twice that before the third, and so on
LONGEST_PAUSE_S = 1.0
PATIENCE_S = 4.0  # no try begins later: a gateway waits thirty seconds for all calls of a request
CONDITION_FAILED = "ConditionalCheckFailedException"
# Nothing was written. The client library retries none of the first, and the others three times only.
PASSING = {
    "TransactionConflictException",
    "TransactionInProgressException",
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
}
# The same as reasons of items of a transaction.
PASSING_REASONS = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


class InvalidTransition(Exception):
    """The row is not in a state that allows the change; nothing was changed."""


class Contended(Exception):
    """Other calls changed the row before each try; a later call may succeed."""


def error_code(error: ClientError) -> str:
    """Return the code of an error response."""
    return str(error.response["Error"]["Code"])


def cancellation_codes(error: ClientError) -> set[str | None]:
    """Return why the items of a transaction were not written."""
    return set(cancellation_reasons(error))


def cancellation_reasons(error: ClientError) -> list[str | None]:
    """Return why each item of a transaction was not written, in the order of the items."""
    return [reason.get("Code") for reason in error.response.get("CancellationReasons", [])]


def is_passing(error: BaseException) -> bool:
    """Return whether an error of DynamoDB says that nothing was done, and that the same call may succeed now."""
    if not isinstance(error, ClientError):
        return False
    return error_code(error) in PASSING or bool(PASSING_REASONS & cancellation_codes(error))


def _is_contended(error: BaseException) -> bool:
    return isinstance(error, Contended)


# Pauses are of random length, so that calls that collided do not collide again.
_PAUSES = wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S)
_END = stop_after_attempt(TRIES) | stop_before_delay(PATIENCE_S)
retry_passing = retry(retry=retry_if_exception(is_passing), wait=_PAUSES, stop=_END, reraise=True)
retry_contention = retry(retry=retry_if_exception(_is_contended), wait=_PAUSES, stop=_END, reraise=True)


class RetryingClient:
    """A DynamoDB client whose every operation is retried while other calls or the table's capacity stand in its way.

    A plain write of a row that is part of a running transaction is refused too (`TransactionConflictException`).
    Anything but an operation, such as a paginator, which would escape the retries, is an `AttributeError`.
    """

    def __init__(self, dynamodb: Any) -> None:  # noqa: ANN401 - boto3 has no types
        self._client = dynamodb

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation not in self._client.meta.method_to_api_mapping:
            raise AttributeError(f"{operation} is no operation of DynamoDB")
        call: Callable[..., Any] = retry_passing(getattr(self._client, operation))
        return call

    def pages(self, **query: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - as boto3's `query`
        """Yield the pages of a query, each read with retries."""
        while query:
            page = self.query(**query)
            yield page
            after = page.get("LastEvaluatedKey")
            query = query | {"ExclusiveStartKey": after} if after else {}
