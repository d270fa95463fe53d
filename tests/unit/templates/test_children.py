"""Stacks within the stack: what each is given, and the endpoint and the registry."""

import json

import pytest

from heatlens_aws import object_keys
from heatlens_web.settings import ServerSettings
from tests.support.paths import ROOT
from tests.support.stack import EVERYTHING, TEMPLATE, Stack, children, read

STACK = Stack(TEMPLATE)
FULL = Stack(TEMPLATE, EVERYTHING)


def test_what_is_not_chosen_is_not_made() -> None:
    assert set(children(STACK)) == {"Observability"}
    assert set(children(FULL)) == {"Observability", "Endpoint", "Trail"}
    assert set(children(Stack(TEMPLATE, {"Alarms": "false", "Dashboard": "false"}))) == set()
    assert "BackfillStateMachine" not in STACK.resources()


@pytest.mark.parametrize("name", ["Observability", "Endpoint", "Trail"])
def test_a_child_is_given_all_that_it_asks_for(name: str) -> None:
    given = FULL.properties(name)["Parameters"]
    asked = children(FULL)[name].template["Parameters"]

    assert set(given) <= set(asked)
    assert {each for each in asked if "Default" not in asked[each]} <= set(given)
    assert all(value is not None for value in given.values())


def test_the_endpoints_name_is_one_wherever_it_is_used() -> None:
    shared = FULL.value(read(TEMPLATE)["Globals"])["Function"]["Environment"]["Variables"]
    [ask] = [each for each in FULL.statements("BatchRole") if each["Sid"] == "Ask"]
    name = children(FULL)["Endpoint"].properties("Endpoint")["EndpointName"]

    assert shared["HEATLENS_ASYNC_ENDPOINT"] == name
    assert FULL.outputs()["EndpointName"] == name
    assert ask["Resource"].endswith(f":endpoint/{name}")
    assert FULL.properties("Observability")["Parameters"]["Endpoint"] == name


def test_the_endpoint_answers_where_answers_are_looked_for_and_sleeps() -> None:
    child = children(FULL)["Endpoint"]
    config = child.properties("EndpointConfig")
    output = config["AsyncInferenceConfig"]["OutputConfig"]
    target = child.properties("Instances")

    assert output["S3OutputPath"] == output["S3FailurePath"] == f"s3://bucket/{object_keys.ASYNC}".removesuffix("/")
    assert set(output["NotificationConfig"]) == {"SuccessTopic", "ErrorTopic"}
    assert child.properties("Model")["EnableNetworkIsolation"] is True
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 1)
    assert target["ResourceId"].endswith(f"/variant/{config['ProductionVariants'][0]['VariantName']}")
    metrics = {each["Properties"].get("MetricName") for each in child.resources("AWS::CloudWatch::Alarm").values()}
    follow = child.properties("FollowBacklog")["TargetTrackingScalingPolicyConfiguration"]
    assert follow["CustomizedMetricSpecification"]["MetricName"] == "ApproximateBacklogSizePerInstance"
    assert "HasBacklogWithoutCapacity" in metrics
    assert child.properties("Waiting")["AlarmActions"] == [child.name("Wake")]


def test_the_endpoint_is_sent_what_its_container_works_at_and_no_more_than_it_holds() -> None:
    config = children(FULL)["Endpoint"].properties("EndpointConfig")["AsyncInferenceConfig"]["ClientConfig"]
    settings = ServerSettings()

    assert config["MaxConcurrentInvocationsPerInstance"] == settings.concurrency * settings.batch_images
    assert config["MaxConcurrentInvocationsPerInstance"] <= settings.in_flight


def test_what_a_gpu_costs_is_said_before_and_after() -> None:
    assert "billed from the deployment" in read(TEMPLATE)["Parameters"]["EndpointImageUri"]["Description"]
    assert "bills a GPU from now" in read(TEMPLATE)["Outputs"]["EndpointName"]["Description"]


def test_images_are_scanned_and_cannot_be_replaced() -> None:
    repository = Stack(ROOT / "infra" / "repository.yaml").properties("Repository")
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]

    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    # SAM's tags end in the template's DockerTag; the endpoint's image is pulled at every scale-out and must not go.
    patterns = [
        rule["selection"].get("tagPatternList") for rule in rules if rule["selection"]["tagStatus"] != "untagged"
    ]
    assert patterns == [[f"*-{read(TEMPLATE)['Resources']['ApiFunction']['Metadata']['DockerTag']}"]]


def test_no_text_of_a_template_is_left_unresolved() -> None:
    for stack in (STACK, FULL, *children(FULL).values()):
        assert "Fn::" not in json.dumps(stack.resources())
