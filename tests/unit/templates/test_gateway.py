"""The gateway: who is let in, by which parameters, and what it logs."""

import json
import re

import pytest

from tests.support.stack import ACCOUNT, REGION, TEMPLATE, Json, Stack, read

STACK = Stack(TEMPLATE)


def routes(**parameters: object) -> dict[str, str]:
    made = Stack(TEMPLATE, parameters).resources("AWS::ApiGatewayV2::Route").values()
    found = {each["Properties"]["RouteKey"]: each["Properties"]["AuthorizationType"] for each in made}
    assert len(found) == len(made), "two routes with one key"
    return found


JWT = {"AuthMode": "JWT", "JwtIssuer": "https://issuer.example", "JwtAudience": "one,two"}


def test_by_default_everything_is_asked_for_a_signature() -> None:
    assert routes() == {"$default": "AWS_IAM"}


def test_with_tokens_only_the_page_is_open() -> None:
    assert routes(**JWT) == {"$default": "JWT", "GET /": "NONE", "GET /static/{proxy+}": "NONE"}
    assert Stack(TEMPLATE, JWT).properties("JwtAuthorizer")["JwtConfiguration"] == {
        "Issuer": "https://issuer.example",
        "Audience": ["one", "two"],
    }


def test_open_to_everybody_must_be_typed_and_is_said() -> None:
    assert routes(AuthMode="NONE") == {"$default": "NONE"}
    assert "AuthMode is NONE" in Stack(TEMPLATE, {"AuthMode": "NONE"}).outputs()["OpenToEverybody"]
    assert "OpenToEverybody" not in STACK.outputs()
    assert STACK.outputs()["AuthMode"] == "AWS_IAM"


@pytest.mark.parametrize("missing", ["JwtIssuer", "JwtAudience"])
def test_tokens_need_issuer_and_audience(missing: str) -> None:
    assert Stack(TEMPLATE, JWT).refusals() == []
    assert Stack(TEMPLATE, JWT | {missing: ""}).refusals() == [f"AuthMode JWT needs {missing}."]


def test_two_receivers_of_alarms_are_refused() -> None:
    both = {"AlarmEmail": "a@example.org", "AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:a"}

    assert len(Stack(TEMPLATE, both).refusals()) == 1
    assert [Stack(TEMPLATE, {name: each}).refusals() for name, each in both.items()] == [[], []]


@pytest.mark.parametrize("mode", [{}, JWT], ids=["signature", "token"])
def test_preflights_pass_where_other_sites_may_call(mode: Json) -> None:
    origins = "https://a.example,https://b.example"
    stack = Stack(TEMPLATE, mode | {"CorsOrigins": origins})

    assert routes(**mode, CorsOrigins=origins)["OPTIONS /{proxy+}"] == "NONE"
    assert stack.properties("HttpApi")["CorsConfiguration"]["AllowOrigins"] == origins.split(",")
    assert "CorsConfiguration" not in STACK.properties("HttpApi")


def test_a_stage_without_a_name_throttles_and_logs_no_secret() -> None:
    stage = STACK.properties("Stage")
    line = json.loads(stage["AccessLogSettings"]["Format"])

    assert stage["StageName"] == "$default"
    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 10, "ThrottlingBurstLimit": 20}
    assert {"requestId", "status", "path"} <= set(line)
    told = " ".join(line.values()).lower()
    assert not re.search(r"query|body|header|authorizer|useragent|user_agent", told)


def test_sams_emulator_reads_the_routes_as_they_are_written() -> None:
    """It decides by the first resource that it knows; a serverless function first, and none of these routes exists."""
    kinds = [each["Type"] for each in read(TEMPLATE)["Resources"].values()]

    assert kinds[0].startswith("AWS::ApiGatewayV2::")
    assert kinds.index("AWS::ApiGatewayV2::Api") < kinds.index("AWS::Serverless::Function")
