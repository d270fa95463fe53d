import json
from pathlib import Path
from typing import Any

import pytest

from heatlens_web.event_kinds import UnknownEvent, check_event

RECORDED = Path(__file__).parents[3] / "events"


@pytest.mark.parametrize("name", ["http-api-v2", "rest-api-v1", "alb", "function-url"])
def test_recorded_requests_are_requests(name: str) -> None:
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
def test_everything_else_is_refused_in_one_line_that_names_the_kinds_and_nothing_of_it(event: Any) -> None:  # noqa: ANN401
    with pytest.raises(UnknownEvent) as refused:
        check_event(event)

    said = str(refused.value)
    for kind in ("HTTP API", "function URL", "REST API", "Application Load Balancer"):
        assert kind in said
    assert "secret" not in said
    assert "\n" not in said
