"""Answer API Gateway, ALB and function URL events; the model is loaded at import, in Lambda's init phase."""

from typing import Any

from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from mangum.types import LambdaContext

from heatlens_aws.lambda_init import start
from heatlens_web import problems
from heatlens_web.app import create_app
from heatlens_web.event_kinds import check_event
from heatlens_web.settings import read_server_settings

app = start(lambda: create_app(read_server_settings(), deployment="lambda"))
# A REST API without binary types would pass a base64 problem to the client undecoded.
adapter = Mangum(app, lifespan="off", text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, problems.MEDIA_TYPE])


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer a request.

    Raises:
        UnknownEvent: The event is not a request.
    """
    check_event(event)
    return adapter(event, context)
