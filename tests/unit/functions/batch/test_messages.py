import json
from typing import Any

import pytest

from functions.batch.messages import distinct_items, parse_messages
from infra.local_account import sqs_event


def s3_event(*keys: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventName": "ObjectCreated:Put",
                "eventSource": "aws:s3",
                "s3": {"bucket": {"name": "b"}, "object": {"key": key, "versionId": "v", "eTag": "e", "size": 1}},
            }
            for key in keys
        ]
    }


def message(number: int, body: object, *, receives: int = 1, **attributes: str) -> dict[str, Any]:
    return {
        "MessageId": str(number),
        "ReceiptHandle": f"receipt {number}",
        "Body": body if isinstance(body, str) else json.dumps(body),
        "Attributes": {"ApproximateReceiveCount": str(receives)},
        "MessageAttributes": {name: {"StringValue": value, "DataType": "String"} for name, value in attributes.items()},
    }


def keys(*received: dict[str, Any]) -> list[str]:
    return [item.created.stored.key for item in distinct_items(parse_messages(sqs_event(list(received))))]


def test_an_event_without_a_queue_is_one_message_without_a_receipt() -> None:
    [only] = parse_messages(s3_event("in/a"))

    assert (only.receipt, only.receives, only.suspect) == (None, 1, False)


@pytest.mark.parametrize("body", ["no JSON", "[]", {"Records": 1}])
def test_a_message_that_cannot_be_parsed_names_no_objects(body: object) -> None:
    [unreadable, readable] = parse_messages(sqs_event([message(1, body), message(2, s3_event("in/a"))]))

    assert unreadable.objects is None
    assert readable.objects is not None


def test_an_object_of_several_messages_is_listed_once_with_all_of_them() -> None:
    received = [message(1, s3_event("in/a", "in/b")), message(2, s3_event("in/a"), receives=3)]

    first, second = sorted(
        distinct_items(parse_messages(sqs_event(received))), key=lambda item: item.created.stored.key
    )

    assert (sorted(first.messages), first.receives, first.suspect) == (["1", "2"], 3, True)
    assert (sorted(second.messages), second.receives, second.suspect) == (["1"], 1, False)


def test_redelivered_and_requeued_messages_come_last() -> None:
    received = [
        message(1, s3_event("in/redelivered"), receives=2),
        message(2, s3_event("in/requeued"), again="1"),
        message(3, s3_event("in/new")),
    ]

    assert keys(*received) == ["in/new", "in/requeued", "in/redelivered"]


def test_the_order_of_suspects_is_reversed_with_each_delivery() -> None:
    names = [f"in/i/{number}" for number in range(6)]

    orders = [keys(message(1, s3_event(*names), receives=receives)) for receives in (2, 3, 4)]

    assert orders[1] == orders[0][::-1]
    assert orders[2] == orders[0]
    assert sorted(orders[0]) == names


def sent_again(number: int, key: str, *, failed: int = 0, waited: int = 1, receives: int = 1) -> dict[str, Any]:
    """Make a message that was sent again because there was no time for those before."""
    first = "1700000000000"
    return message(number, s3_event(key), receives=receives, first_sent=first, failed=str(failed), waited=str(waited))


def test_a_message_that_was_sent_again_has_the_history_of_those_before() -> None:
    received = [sent_again(1, "in/a", failed=2, waited=3), sent_again(2, "in/b", failed=2, receives=2)]
    [first, second] = parse_messages(sqs_event(received))

    assert (first.receives, first.suspect, first.starved, first.waited) == (3, True, True, 3)
    assert (second.receives, second.starved, second.sent_ms) == (4, False, 1_700_000_000_000)


@pytest.mark.parametrize("value", ["-1", "x", "", "9" * 5000, "٣"])
def test_a_history_that_is_none_counts_for_nothing(value: str) -> None:
    [only] = parse_messages(sqs_event([message(1, s3_event("in/a"), failed=value, waited=value, first_sent=value)]))

    assert (only.receives, only.waited, only.starved, only.sent_ms) == (1, 0, False, None)


def test_suspects_without_time_at_their_last_delivery_come_first_the_most_received_of_them_before_the_others() -> None:
    received = [
        message(1, s3_event("in/new")),
        message(2, s3_event("in/suspect"), receives=2),
        sent_again(3, "in/starved", failed=1),
        sent_again(4, "in/starved-longer", failed=3),
        sent_again(5, "in/late"),
        sent_again(6, "in/starved-and-killed", failed=1, receives=2),
    ]

    assert keys(*received) == [
        "in/starved-longer",
        "in/starved",
        "in/late",
        "in/new",
        "in/suspect",
        "in/starved-and-killed",
    ]
