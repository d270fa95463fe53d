"""The gateway: authorization for each value of AuthMode, CORS, throttling and the access log."""

import json
import re

import pytest

from heatlens_web.cors import EXPOSED
from tests.support.stack import ACCOUNT, REGION, TEMPLATE, Json, Stack, read

STACK = Stack(TEMPLATE)


def routes(**parameters: object) -> dict[str, str]:
    resources = Stack(TEMPLATE, parameters).resources("AWS::ApiGatewayV2::Route").values()
    by_key = {each["Properties"]["RouteKey"]: each["Properties"]["AuthorizationType"] for each in resources}
    assert len(by_key) == len(resources), "two routes with one key"
    return by_key


JWT = {"AuthMode": "JWT", "JwtIssuer": "https://issuer.example", "JwtAudience": "one,two"}


def test_by_default_every_route_requires_iam_signatures() -> None:
    assert routes() == {"$default": "AWS_IAM"}


def test_with_jwt_only_the_page_needs_no_token() -> None:
    assert routes(**JWT) == {"$default": "JWT", "GET /": "NONE", "GET /static/{proxy+}": "NONE"}
    assert Stack(TEMPLATE, JWT).properties("JwtAuthorizer")["JwtConfiguration"] == {
        "Issuer": "https://issuer.example",
        "Audience": ["one", "two"],
    }


def test_auth_mode_none_is_explicit_and_reported() -> None:
    assert routes(AuthMode="NONE") == {"$default": "NONE"}
    assert "AuthMode is NONE" in Stack(TEMPLATE, {"AuthMode": "NONE"}).outputs()["OpenToEverybody"]
    assert "OpenToEverybody" not in STACK.outputs()
    assert STACK.outputs()["AuthMode"] == "AWS_IAM"


@pytest.mark.parametrize("missing", ["JwtIssuer", "JwtAudience"])
def test_jwt_requires_issuer_and_audience(missing: str) -> None:
    assert Stack(TEMPLATE, JWT).refusals() == []
    assert Stack(TEMPLATE, JWT | {missing: ""}).refusals() == [f"AuthMode JWT needs {missing}."]


def test_an_alarm_address_and_an_alarm_topic_together_are_refused() -> None:
    both = {"AlarmEmail": "a@example.org", "AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:a"}

    assert len(Stack(TEMPLATE, both).refusals()) == 1
    assert [Stack(TEMPLATE, {name: each}).refusals() for name, each in both.items()] == [[], []]


@pytest.mark.parametrize("mode", [{}, JWT], ids=["signature", "token"])
def test_preflight_requests_need_no_authorization_with_cors_origins(mode: Json) -> None:
    origins = "https://a.example,https://b.example"
    stack = Stack(TEMPLATE, mode | {"CorsOrigins": origins})

    assert routes(**mode, CorsOrigins=origins)["OPTIONS /{proxy+}"] == "NONE"
    assert stack.properties("HttpApi")["CorsConfiguration"]["AllowOrigins"] == origins.split(",")
    assert stack.properties("HttpApi")["CorsConfiguration"]["ExposeHeaders"] == EXPOSED
    assert "CorsConfiguration" not in STACK.properties("HttpApi")


def test_the_default_stage_throttles_and_logs_no_secrets() -> None:
    stage = STACK.properties("Stage")
    line = json.loads(stage["AccessLogSettings"]["Format"])

    assert stage["StageName"] == "$default"
    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 10, "ThrottlingBurstLimit": 20}
    assert {"requestId", "status", "path"} <= set(line)
    logged = " ".join(line.values()).lower()
    assert not re.search(r"query|body|header|authorizer|useragent|user_agent", logged)


def test_the_api_is_declared_before_the_functions_for_sam_local() -> None:
    """It picks its route reader by the first resource that it knows; after a function it would find no route."""
    kinds = [each["Type"] for each in read(TEMPLATE)["Resources"].values()]

    assert kinds[0].startswith("AWS::ApiGatewayV2::")
    assert kinds.index("AWS::ApiGatewayV2::Api") < kinds.index("AWS::Serverless::Function")
