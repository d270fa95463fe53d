import json
from typing import Any

import pytest

from heatlens_web.event_kinds import UnknownEvent, check_event
from tests.support.paths import ROOT

RECORDED = ROOT / "tests" / "events"


@pytest.mark.parametrize("name", ["http-api-v2", "rest-api-v1", "alb", "function-url"])
def test_recorded_requests_are_accepted(name: str) -> None:
    check_event(json.loads((RECORDED / f"{name}.json").read_text()))


@pytest.mark.parametrize(
    "event",
    [
        {},
        None,
        [],
        "x",
        {"Records": [{"eventSource": "aws:sqs", "body": "secret"}]},
        {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "secret"}}}]},
        {"Records": [{"cf": {"request": {"uri": "secret"}}}]},
        {"source": "aws.s3", "detail-type": "Object Created", "detail": {"object": {"key": "secret"}}},
        {"version": "2.0", "requestContext": None},
        {"version": "2.0", "requestContext": {}, "secret": 1},
        {"requestContext": {"connectionId": "secret", "eventType": "CONNECT"}},
    ],
)
def test_other_events_are_refused_with_the_kinds_and_without_their_content(event: Any) -> None:  # noqa: ANN401
    with pytest.raises(UnknownEvent) as refused:
        check_event(event)

    message = str(refused.value)
    for kind in ("HTTP API", "function URL", "REST API", "Application Load Balancer"):
        assert kind in message
    assert "secret" not in message
    assert "\n" not in message
