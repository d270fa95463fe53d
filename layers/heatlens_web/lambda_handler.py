"""Answer API Gateway, ALB and function URL events with the application."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from mangum.types import LambdaContext

from heatlens_aws.warmup import answer_ping, is_ping
from heatlens_web import problems
from heatlens_web.event_kinds import read_event


def create_handler(app: FastAPI) -> Callable[[dict[str, Any], LambdaContext], dict[str, Any]]:
    """Make the function that Lambda calls with each event.

    The function answers a ping without work, and raises `UnknownEvent` if the event is not a request.
    """
    # A REST API without binary types would pass a base64 problem to the client undecoded.
    adapter = Mangum(app, lifespan="off", text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, problems.MEDIA_TYPE])

    def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        return answer_ping() if is_ping(event) else adapter(read_event(event), context)

    return handler
