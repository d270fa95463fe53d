"""Send one request to any entry point: the Lambda handler behind four kinds of event, or a server at an address."""

import http.client
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from heatlens_cli.events.http_events import Event, HttpRequest, LambdaContext, answer_body

Handler = Callable[[Any, Any], Event]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


Client = Callable[[HttpRequest], Answer]


def lambda_client(handler: Handler, wrap: Callable[[HttpRequest], Event]) -> Client:
    """Call the handler with the event that the gateway makes of the request."""

    def send(request: HttpRequest) -> Answer:
        event = handler(wrap(request), LambdaContext())
        headers = event.get("headers") or {
            name: values[0] for name, values in (event.get("multiValueHeaders") or {}).items()
        }
        return Answer(event["statusCode"], {name.lower(): value for name, value in headers.items()}, answer_body(event))

    return send


def http_client(port: int) -> Client:
    """Send requests to a server on this machine."""

    def send(request: HttpRequest) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        target = request.path + (f"?{request.query}" if request.query else "")
        connection.request(request.method, target, request.body, request.headers)
        response = connection.getresponse()
        answer = Answer(response.status, {n.lower(): v for n, v in response.getheaders()}, response.read())
        connection.close()
        return answer

    return send
