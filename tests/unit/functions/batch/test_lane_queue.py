"""The messages in a lane's queue: waiting, delayed, in flight."""

from types import SimpleNamespace
from typing import Any, cast

from functions.batch.context import Account
from functions.batch.lane_queue import Backlog, read_backlog
from heatlens_aws.object_keys import Lane

COUNTS = {
    "ApproximateNumberOfMessages": "3",
    "ApproximateNumberOfMessagesDelayed": "2",
    "ApproximateNumberOfMessagesNotVisible": "7",
}


class Queues:
    """Two queues; only the bulk lane's has messages."""

    def get_queue_attributes(self, **asked: Any) -> dict[str, dict[str, str]]:  # noqa: ANN401 - as in boto3
        assert set(asked["AttributeNames"]) == set(COUNTS)
        return {"Attributes": COUNTS if asked["QueueUrl"] == "queue-bulk" else dict.fromkeys(COUNTS, "0")}


def test_a_backlog_counts_what_waits_and_what_a_worker_has() -> None:
    settings = SimpleNamespace(queue_url=lambda lane: f"queue-{lane.name.lower()}")
    account = cast("Account", SimpleNamespace(sqs=Queues(), settings=settings))

    assert read_backlog(account, Lane.BULK) == Backlog(waiting=5, in_flight=7)
    assert read_backlog(account, Lane.INTERACTIVE) == Backlog(waiting=0, in_flight=0)
