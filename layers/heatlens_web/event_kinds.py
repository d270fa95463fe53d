"""Check that a Lambda event is an HTTP request of a known kind, before the adapter reads it."""

from collections.abc import Callable, Mapping
from typing import Any

Json = dict[str, Any]


class UnknownEvent(ValueError):
    """Lambda was invoked with an event that is not a request."""


def _http_api_or_url(event: Json, context: Json) -> bool:
    return event.get("version") == "2.0" and isinstance(context.get("http"), dict)


def _rest_api(event: Json, context: Json) -> bool:
    return "resource" in event and "httpMethod" in event


def _load_balancer(event: Json, context: Json) -> bool:
    return "elb" in context and "httpMethod" in event


KINDS: Mapping[str, Callable[[Json, Json], bool]] = {
    "HTTP API (payload 2.0) or function URL": _http_api_or_url,
    "REST API (payload 1.0)": _rest_api,
    "Application Load Balancer": _load_balancer,
}


def check_event(event: object) -> None:
    """Check that an event is a request of a supported kind.

    Raises:
        UnknownEvent: It is not. The message names the kinds, and nothing of the event.
    """
    context = event.get("requestContext") if isinstance(event, dict) else None
    if isinstance(event, dict) and isinstance(context, dict) and any(fits(event, context) for fits in KINDS.values()):
        return
    raise UnknownEvent(
        f"this function answers requests, of these kinds: {', '.join(KINDS)}; objects of S3, through SQS or not, are "
        "for the batch function"
    )
