"""The functions' VPC, the custom domain, and the REST API with the firewall; and what their page says of them."""

import re
from typing import Any

import pytest

from heatlens_aws import audit_log, clients
from tests.support.paths import ROOT
from tests.support.policies import Request, allowed
from tests.support.stack import ACCOUNT, FUNCTIONS, REGION, TEMPLATE, Json, Stack, children, read

PAGE = (ROOT / "infra" / "network.md").read_text()
VPC = {"SubnetIds": "subnet-0a,subnet-0b", "SecurityGroupIds": "sg-0a,sg-0b"}
DOMAIN = {"DomainName": "heatlens.example.org", "CertificateArn": f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/0"}
PLAIN, IN_VPC, ON_DOMAIN = Stack(TEMPLATE), Stack(TEMPLATE, VPC), Stack(TEMPLATE, DOMAIN)
GUARDED = Stack(TEMPLATE, {"Firewall": "true", "Tracing": "Active"})
CANARY = Stack(TEMPLATE, {"Firewall": "true", "Canary": "true"})


def rest_api(stack: Stack) -> Stack:
    return children(stack)["RestApi"]


@pytest.mark.parametrize(
    ("given", "refusals"),
    [
        ({}, 0),
        (VPC, 0),
        ({"SubnetIds": "subnet-0a"}, 1),
        ({"SecurityGroupIds": "sg-0a"}, 1),
        (DOMAIN, 0),
        ({"DomainName": "heatlens.example.org"}, 1),
        ({"CertificateArn": DOMAIN["CertificateArn"]}, 1),
        ({"Firewall": "true"}, 0),
        ({"Firewall": "true"} | DOMAIN | VPC, 0),
        ({"Firewall": "true", "AuthMode": "NONE"}, 1),
        ({"Firewall": "true", "CorsOrigins": "https://a.example"}, 1),
    ],
)
def test_half_a_setting_and_contradictions_are_refused(given: Json, refusals: int) -> None:
    assert len(Stack(TEMPLATE, given).refusals()) == refusals


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("SubnetIds", "subnet-0a,subnet-0b", "subnet-0a, subnet-0b"),
        ("SecurityGroupIds", "sg-0123456789abcdef0", "default"),
        ("DomainName", "heatlens.example.org", "https://heatlens.example.org"),
        ("CertificateArn", DOMAIN["CertificateArn"], "certificate/0"),
    ],
)
def test_a_parameter_of_the_network_has_the_form_that_aws_wants(name: str, good: str, bad: str) -> None:
    pattern = read(TEMPLATE)["Parameters"][name]["AllowedPattern"]

    assert re.fullmatch(pattern, "")
    assert re.fullmatch(pattern, good)
    assert not re.fullmatch(pattern, bad)


def test_every_function_is_in_the_subnets_or_none_is() -> None:
    shared = IN_VPC.value(read(TEMPLATE)["Globals"])["Function"]

    assert shared["VpcConfig"] == {"SubnetIds": ["subnet-0a", "subnet-0b"], "SecurityGroupIds": ["sg-0a", "sg-0b"]}
    assert "VpcConfig" not in PLAIN.value(read(TEMPLATE)["Globals"])["Function"]
    assert not any("VpcConfig" in PLAIN.properties(name) for name in FUNCTIONS)


@pytest.mark.parametrize("role", ["ApiRole", "BatchRole", "SweeperRole"])
def test_lambda_may_make_network_interfaces_in_a_vpc_but_the_code_may_not(role: str) -> None:
    for action in ("CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface"):
        by_lambda = Request(f"ec2:{action}", "*")
        by_code = Request(f"ec2:{action}", "*", {"lambda:SourceFunctionArn": "arn:aws:lambda:x"})
        assert allowed(by_lambda, IN_VPC.statements(role))
        assert not allowed(by_code, IN_VPC.statements(role))
        assert not allowed(by_lambda, PLAIN.statements(role))


def called_services() -> set[str]:
    """The services that the functions make clients of."""
    sources = [(ROOT / module.__file__).read_text() for module in (clients, audit_log) if module.__file__]
    return {name for source in sources for name in re.findall(r'boto3\.client\(\s*"([\w-]+)"', source)}


def test_the_page_lists_an_endpoint_for_each_service_that_the_code_calls() -> None:
    names = {"sagemaker-runtime": "sagemaker.runtime"}
    rows = re.findall(r"^\| `com\.amazonaws\.REGION\.([\w.]+)` \| (\w+) \|", PAGE, re.MULTILINE)

    assert len(called_services()) == 5
    assert {name for name, _ in rows} == {names.get(each, each) for each in called_services()}
    assert {name for name, kind in rows if kind == "gateway"} == {"s3", "dynamodb"}


def test_no_other_module_makes_a_client() -> None:
    sources = [
        path
        for folder in ("layers/heatlens_aws", "layers/heatlens_web", "functions")
        for path in (ROOT / folder).rglob("*.py")
        if "boto3" in path.read_text() and "boto3.client(" in path.read_text()
    ]

    assert {path.stem for path in sources} == {"clients", "audit_log"}


def test_a_custom_domain_leads_to_the_http_api() -> None:
    mapping = ON_DOMAIN.properties("DomainMapping")
    [configuration] = ON_DOMAIN.properties("Domain")["DomainNameConfigurations"]

    assert ON_DOMAIN.properties("Domain")["DomainName"] == DOMAIN["DomainName"]
    assert configuration == {
        "CertificateArn": DOMAIN["CertificateArn"],
        "EndpointType": "REGIONAL",
        "SecurityPolicy": "TLS_1_2",
    }
    assert (mapping["ApiId"], mapping["Stage"]) == (ON_DOMAIN.name("HttpApi"), ON_DOMAIN.name("Stage"))
    assert "ApiMappingKey" not in mapping  # a base path would stand in every address
    assert set(ON_DOMAIN.outputs()) - set(PLAIN.outputs()) == {"DomainTarget", "DomainZone"}
    assert not {"Domain", "DomainMapping"} & set(PLAIN.resources())


def test_pages_of_the_custom_domain_may_use_links_to_the_bucket() -> None:
    [rule] = ON_DOMAIN.properties("Bucket")["CorsConfiguration"]["CorsRules"]

    assert rule["AllowedOrigins"] == [
        f"https://httpapi.execute-api.{REGION}.amazonaws.com",
        "https://heatlens.example.org",
    ]


def test_with_the_firewall_the_http_api_is_closed_and_every_address_leads_to_the_rest_api() -> None:
    both = Stack(TEMPLATE, {"Firewall": "true"} | DOMAIN)

    assert GUARDED.properties("HttpApi")["DisableExecuteApiEndpoint"] is True
    assert PLAIN.properties("HttpApi")["DisableExecuteApiEndpoint"] is False
    assert both.properties("DomainMapping")["ApiId"] == "RestApi.Outputs.ApiId"
    assert both.properties("DomainMapping")["Stage"] == "RestApi.Outputs.Stage"
    assert GUARDED.outputs()["ApiUrl"] == "RestApi.Outputs.Url"
    assert PLAIN.outputs()["ApiUrl"] == "HttpApi.ApiEndpoint"
    assert "RestApi" not in children(PLAIN)


def methods(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return the method of each path of the REST API."""
    paths = rest_api(stack).properties("Api")["Body"]["paths"]
    assert {name for path in paths.values() for name in path} == {"x-amazon-apigateway-any-method"}
    return {name: path["x-amazon-apigateway-any-method"] for name, path in paths.items()}


def test_every_method_of_the_rest_api_requires_a_signature_and_is_throttled() -> None:
    api = rest_api(GUARDED).properties("Api")
    [settings] = rest_api(GUARDED).properties("Stage")["MethodSettings"]

    assert set(methods(GUARDED)) == {"/", "/{proxy+}"}
    for method in methods(GUARDED).values():
        assert method["security"] == [{"sigv4": []}]
    assert api["Body"]["components"]["securitySchemes"]["sigv4"]["x-amazon-apigateway-authtype"] == "awsSigv4"
    assert settings == {
        "HttpMethod": "*",
        "ResourcePath": "/*",
        "ThrottlingRateLimit": 10,
        "ThrottlingBurstLimit": 20,
    }


def test_no_method_depends_on_a_parameter() -> None:
    """A deployment is a copy of the methods: one that changes with a parameter would not change in the copy."""
    parameters = set(read(ROOT / "infra" / "firewall.yaml")["Parameters"])
    paths = read(ROOT / "infra" / "firewall.yaml")["Resources"]["Api"]["Properties"]["Body"]["paths"]

    assert not [word for word in re.findall(r"\w+", str(paths)) if word in parameters]


def test_what_the_body_says_of_the_rest_api_is_what_its_properties_say() -> None:
    """The import of the body comes last, and overwrites."""
    api = rest_api(GUARDED).properties("Api")

    assert api["Body"]["info"]["title"] == api["Name"]
    assert api["Body"]["x-amazon-apigateway-binary-media-types"] == api["BinaryMediaTypes"] == ["*/*"]
    assert [api["Parameters"]["endpointConfigurationTypes"]] == api["EndpointConfiguration"]["Types"] == ["REGIONAL"]


def test_sam_finds_no_route_in_the_rest_api_that_it_could_not_call() -> None:
    """SAM calls whatever a method names, and does not read the variables of a stage; it skips those in a document."""
    assert rest_api(GUARDED).resources("AWS::ApiGateway::Method") == {}


@pytest.mark.parametrize(("stack", "function"), [(GUARDED, "apifunction"), (CANARY, "apifunction:live")])
def test_the_rest_api_calls_the_function_or_its_alias_and_may(stack: Stack, function: str) -> None:
    child = rest_api(stack)
    uris = {each["x-amazon-apigateway-integration"]["uri"] for each in methods(stack).values()}
    permission = stack.properties("RestApiMayInvoke")

    assert child.properties("Stage")["Variables"] == {"function": function}
    assert {each.rpartition("function:")[2] for each in uris} == {"${stageVariables.function}/invocations"}
    assert permission["SourceArn"].endswith(":RestApi.Outputs.ApiId/*")
    assert permission["FunctionName"] == "apifunction"
    # The permission of the alias needs the alias to exist, which only a reference to it ensures.
    assert read(TEMPLATE)["Resources"]["RestApiMayInvoke"]["Properties"]["FunctionName"] == {
        "Fn::If": ["WithAlias", {"Ref": "ApiFunction.Alias"}, {"Ref": "ApiFunction"}]
    }


def test_the_rest_api_is_traced_as_the_functions() -> None:
    assert rest_api(GUARDED).properties("Stage")["TracingEnabled"] is True
    assert rest_api(CANARY).properties("Stage")["TracingEnabled"] is False


def test_the_firewall_protects_the_stage_and_never_blocks_by_the_body() -> None:
    child = rest_api(GUARDED)
    rules = {each["Name"]: each for each in child.properties("Rules")["Rules"]}
    [inputs] = [each["Statement"]["ManagedRuleGroupStatement"] for each in rules.values() if each["Name"] == "inputs"]

    assert child.properties("Protection")["ResourceArn"] == (f"arn:aws:apigateway:{REGION}::/restapis/api/stages/stage")
    assert rules["rate"]["Statement"]["RateBasedStatement"]["Limit"] == 2000
    assert {each["Name"] for each in inputs["RuleActionOverrides"]} == {
        "JavaDeserializationRCE_BODY",
        "Log4JRCE_BODY",
        "ReactJSRCE_BODY",
    }
    assert {str(each["ActionToUse"]) for each in inputs["RuleActionOverrides"]} == {"{'Count': {}}"}
    groups = [each["Statement"].get("ManagedRuleGroupStatement", {}).get("Name") for each in rules.values()]
    assert "AWSManagedRulesCommonRuleSet" not in groups  # refuses bodies over 8 KB


def test_no_sample_of_a_request_is_stored() -> None:
    rules = rest_api(GUARDED).properties("Rules")

    configurations = [rules["VisibilityConfig"], *(each["VisibilityConfig"] for each in rules["Rules"])]
    assert {each["SampledRequestsEnabled"] for each in configurations} == {False}
    assert {each["CloudWatchMetricsEnabled"] for each in configurations} == {True}


def gateway_metrics(stack: Stack) -> list[tuple[str, str]]:
    """The names and first dimensions of the gateway's metrics that alarms and dashboard watch."""
    child = children(stack)["Observability"]
    alarms = [*child.resources("AWS::CloudWatch::Alarm").values(), *stack.resources("AWS::CloudWatch::Alarm").values()]
    single = [each["Properties"] for each in alarms if "MetricName" in each["Properties"]]
    parts = [part for each in alarms for part in each["Properties"].get("Metrics", []) if "MetricStat" in part]
    watched = single + [part["MetricStat"]["Metric"] for part in parts]
    shown = re.findall(r'"AWS/ApiGateway", "(\w+)", "(\w+)"', child.properties("Board")["DashboardBody"])
    return [
        (each["MetricName"], each["Dimensions"][0]["Name"]) for each in watched if each["Namespace"] == "AWS/ApiGateway"
    ] + shown


def test_alarms_and_dashboard_watch_the_api_that_callers_use() -> None:
    """The two kinds of APIs have different metrics, and an alarm on the closed API would never be raised."""
    open_api = Stack(TEMPLATE, {"Canary": "true"})

    assert len(gateway_metrics(open_api)) == len(gateway_metrics(CANARY)) == 10
    assert set(gateway_metrics(open_api)) == {(name, "ApiId") for name in ("Count", "Latency", "4xx", "5xx")}
    assert set(gateway_metrics(CANARY)) == {(name, "ApiName") for name in ("Count", "Latency", "4XXError", "5XXError")}


def test_the_metrics_of_the_rest_api_have_its_name_and_stage() -> None:
    child, observed = rest_api(CANARY), children(CANARY)["Observability"]
    expected = [
        {"Name": "ApiName", "Value": child.properties("Api")["Name"]},
        {"Name": "Stage", "Value": child.properties("Stage")["StageName"]},
    ]

    assert observed.properties("ApiSlow")["Dimensions"] == expected
    assert CANARY.properties("CanaryFails")["Dimensions"] == expected


def test_the_dashboard_shows_each_rule_of_the_firewall_by_the_name_of_its_metric() -> None:
    rules = rest_api(GUARDED).properties("Rules")
    body = children(GUARDED)["Observability"].properties("Board")["DashboardBody"]
    shown = re.findall(
        r'"AWS/WAFV2", "BlockedRequests", "WebACL", "([\w-]+)", "Region", "[\w-]+", "Rule", "(\w+)"', body
    )

    acl = rules["VisibilityConfig"]["MetricName"]
    assert shown == [(acl, each["VisibilityConfig"]["MetricName"]) for each in rules["Rules"]]
    assert "WAFV2" not in children(PLAIN)["Observability"].properties("Board")["DashboardBody"]
