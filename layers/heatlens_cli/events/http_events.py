"""Make the Lambda events that carry an image: HTTP API v2, REST API v1, ALB, function URL and VPC Lattice v2."""

import base64
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl

Event = dict[str, Any]
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class LambdaContext:
    """The context object that the Lambda runtime passes beside the event."""

    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    function_name: str = "heatlens-api"
    memory_limit_in_mb: int = 3008
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:heatlens-api"
    deadline: float = field(default_factory=lambda: time.monotonic() + TIMEOUT_S)

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the timeout."""
        return max(0, round(1000 * (self.deadline - time.monotonic())))


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as a client sends it, before a gateway wraps it."""

    path: str
    query: str = ""
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def multipart(field_name: str, files: list[tuple[str, bytes]], *, boundary: str | None = None) -> tuple[str, bytes]:
    """Encode files as multipart/form-data.

    Returns:
        The content type and the body.
    """
    boundary = boundary or uuid.uuid4().hex
    body = b""
    for name, data in files:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        disposition = f'form-data; name="{field_name}"; filename="{quoted}"'
        head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
        body += head.encode() + data + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


def heatmap_request(filename: str, data: bytes, *, query: str = "") -> HttpRequest:
    """Make the request of `POST /api/inference/heatmap` for one file."""
    content_type, body = multipart("file", [(filename, data)])
    return HttpRequest("/api/inference/heatmap", query, headers={"content-type": content_type}, body=body)


def http_api_v2(request: HttpRequest) -> Event:
    """Make an event of an API Gateway HTTP API, payload format 2.0."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": _headers(request),
        "queryStringParameters": dict(parse_qsl(request.query)),
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api-id",
            "domainName": "api-id.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "api-id",
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "heatlens",
            },
            "requestId": "request-id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1773342238000,
        },
        **_body(request),
    }


def function_url(request: HttpRequest) -> Event:
    """Make an event of a Lambda function URL: the HTTP API's format from another domain."""
    event = http_api_v2(request)
    domain = "url-id.lambda-url.us-east-1.on.aws"
    event["requestContext"] |= {"apiId": "url-id", "domainName": domain, "domainPrefix": "url-id"}
    event["headers"]["host"] = domain
    return event


def rest_api_v1(request: HttpRequest) -> Event:
    """Make an event of an API Gateway REST API, proxy integration, payload format 1.0."""
    headers, query = _headers(request), parse_qs(request.query, keep_blank_values=True)
    return {
        "resource": "/{proxy+}",
        "path": request.path,
        "httpMethod": request.method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": {"proxy": request.path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api-id",
            "httpMethod": request.method,
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "heatlens"},
            "path": f"/prod{request.path}",
            "protocol": "HTTP/1.1",
            "requestId": "request-id",
            "resourceId": "resource-id",
            "resourcePath": "/{proxy+}",
            "stage": "prod",
        },
        **_body(request),
    }


def alb(request: HttpRequest) -> Event:
    """Make an event of an Application Load Balancer: single-value headers, and the query still encoded."""
    pairs = [pair.partition("=") for pair in request.query.split("&") if pair]
    return {
        "requestContext": {
            "elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/heatlens/0"}
        },
        "httpMethod": request.method,
        "path": request.path,
        "queryStringParameters": {name: value for name, _, value in pairs},
        "headers": _headers(request) | {"x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https"},
        **_body(request),
    }


def vpc_lattice_v2(request: HttpRequest) -> Event:
    """Make an event of VPC Lattice, event version 2, of a service without authorization."""
    arn = "arn:aws:vpc-lattice:us-east-1:123456789012"
    return {
        "version": "2.0",
        "path": request.path,
        "method": request.method,
        "headers": {name: [value] for name, value in _headers(request).items()},
        "queryStringParameters": parse_qs(request.query, keep_blank_values=True),
        "requestContext": {
            "serviceNetworkArn": f"{arn}:servicenetwork/sn-0",
            "serviceArn": f"{arn}:service/svc-0",
            "targetGroupArn": f"{arn}:targetgroup/tg-0",
            "identity": {"sourceVpcArn": "arn:aws:ec2:us-east-1:123456789012:vpc/vpc-0"},
            "region": "us-east-1",
            "timeEpoch": "1773342238000000",
        },
        **_body(request),
    }


KINDS: dict[str, Callable[[HttpRequest], Event]] = {
    "http-api-v2": http_api_v2,
    "rest-api-v1": rest_api_v1,
    "alb": alb,
    "function-url": function_url,
    "vpc-lattice-v2": vpc_lattice_v2,
}


def answer_body(answer: Event) -> bytes:
    """Return the body of a handler's response as bytes."""
    body = str(answer["body"])
    return base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()


def answer_json(answer: Event) -> Any:  # noqa: ANN401 - JSON is whatever it is
    """Parse the body of a handler's JSON response."""
    return json.loads(answer_body(answer))


def _headers(request: HttpRequest) -> dict[str, str]:
    length = {"content-length": str(len(request.body))} if request.body else {}
    return {"host": "api-id.execute-api.us-east-1.amazonaws.com", "accept": "*/*"} | length | request.headers


def _body(request: HttpRequest) -> Event:
    return {"body": base64.b64encode(request.body).decode("ascii"), "isBase64Encoded": True}
