"""The REST API with the firewall: its base64 bodies, its stage, and the signer of a request."""

import base64
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from heatlens_cli.events.http_events import HttpRequest, LambdaContext, heatmap_request, rest_api_v1
from heatlens_web.app import create_app
from heatlens_web.lambda_handler import create_handler
from heatlens_web.settings import ServerSettings
from tests.support.images import encoded, noise

STAGE = "live"
SESSION = "arn:aws:sts::123456789012:assumed-role/radiology/anna@example.org"
DOMAIN = "heatlens.example.org"


def signed(request: HttpRequest, *, custom_domain: bool = False) -> dict[str, Any]:
    """The event of infra/firewall.yaml: every body in base64, and the identity that AWS_IAM has verified."""
    event = rest_api_v1(request)
    context = event["requestContext"]
    context["stage"], context["path"] = STAGE, request.path if custom_domain else f"/{STAGE}{request.path}"
    context["domainName"] = DOMAIN if custom_domain else "api-id.execute-api.us-east-1.amazonaws.com"
    context["identity"] |= {"userArn": SESSION, "accountId": "123456789012", "user": "AROAEXAMPLE:anna@example.org"}
    body = base64.b64encode(request.body).decode() if request.body else None
    return event | {"body": body, "isBase64Encoded": bool(request.body), "stageVariables": {"function": "f:live"}}


def answered(folder: Path, event: dict[str, Any]) -> dict[str, Any]:
    handler = create_handler(create_app(ServerSettings(model_dir=folder), deployment="lambda"))
    return handler(event, LambdaContext())  # type: ignore[arg-type]


@pytest.mark.parametrize("custom_domain", [False, True])
def test_an_image_and_json_are_read_although_every_body_is_base64(tiny_folder: Path, *, custom_domain: bool) -> None:
    image = encoded(noise((32, 32)))
    data = json.dumps({"image_base64": base64.b64encode(image).decode()}).encode()
    path = "/api/inference/heatmap"
    as_json = HttpRequest(path, headers={"content-type": "application/json"}, body=data)

    for request in (heatmap_request("a.png", image), as_json):
        answer = answered(tiny_folder, signed(request, custom_domain=custom_domain))
        assert answer["statusCode"] == 200
        assert answer["isBase64Encoded"] is False
        assert json.loads(answer["body"])["success"] is True


def test_image_bytes_are_returned_in_base64_which_the_gateway_decodes(tiny_folder: Path) -> None:
    headers = {"content-type": "image/png", "accept": "image/png"}
    request = HttpRequest("/api/inference/heatmap", headers=headers, body=encoded(noise((32, 32))))

    answer = answered(tiny_folder, signed(request))

    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"]).startswith(b"\x89PNG")


@pytest.mark.parametrize(("custom_domain", "base"), [(False, f"/{STAGE}"), (True, "")])
def test_the_stage_is_the_base_path_except_on_the_custom_domain(
    tiny_folder: Path, *, custom_domain: bool, base: str
) -> None:
    event = signed(HttpRequest("/openapi.json", method="GET"), custom_domain=custom_domain)

    servers = json.loads(answered(tiny_folder, event)["body"]).get("servers", [{"url": ""}])

    assert [each["url"].rstrip("/") for each in servers] == [base]


def test_the_audit_names_who_signed(tiny_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    answered(tiny_folder, signed(HttpRequest("/api/inference/models", method="GET")))

    [line] = [json.loads(each.message) for each in caplog.records if each.name == "heatlens.audit"]
    assert line["who"] == f"iam {SESSION}"
