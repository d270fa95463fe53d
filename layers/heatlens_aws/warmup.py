"""Recognize the events that only keep a function warm, or try it."""

from typing import Any

_CONSOLE_TEST = {"key1": "value1", "key2": "value2", "key3": "value3"}
_SCHEDULES = ("aws.events", "aws.scheduler")


def is_ping(event: object) -> bool:
    """Whether an event asks for nothing: a schedule of EventBridge, a known warmer, or the console's test event."""
    if not isinstance(event, dict):
        return False
    scheduled = event.get("detail-type") == "Scheduled Event" and event.get("source") in _SCHEDULES
    # serverless-plugin-warmup sends the first, lambda-warmer the second.
    warmed = event.get("source") == "serverless-plugin-warmup" or event.get("warmer") is True
    return scheduled or warmed or event == _CONSOLE_TEST


def answer_ping() -> dict[str, Any]:
    """Return the answer to such an event."""
    return {"warm": True}
