from typing import Any

import pytest

from heatlens_aws.warmup import is_ping


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"warmer": "true"},
        {"key1": "value1"},
        {"source": "aws.events", "detail-type": "EC2 Instance State-change Notification"},
        {"source": "aws.s3", "detail-type": "Object Created"},
        {"version": "2.0", "requestContext": {"http": {}}},
    ],
)
def test_other_events_are_no_pings(event: Any) -> None:  # noqa: ANN401
    assert not is_ping(event)
