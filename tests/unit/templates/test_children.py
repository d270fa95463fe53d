"""Nested stacks and their parameters, the endpoint, and the registry."""

import json

import pytest

from heatlens_aws import object_keys
from heatlens_web.settings import ServerSettings
from tests.support.paths import ROOT
from tests.support.stack import EVERYTHING, TEMPLATE, Stack, children, read

STACK = Stack(TEMPLATE)
FULL = Stack(TEMPLATE, EVERYTHING)


def test_optional_stacks_exist_only_if_chosen() -> None:
    assert set(children(STACK)) == {"Observability"}
    assert set(children(FULL)) == {"Observability", "Endpoint", "Trail"}
    assert set(children(Stack(TEMPLATE, {"Alarms": "false", "Dashboard": "false"}))) == set()
    assert "BackfillStateMachine" not in STACK.resources()


@pytest.mark.parametrize("name", ["Observability", "Endpoint", "Trail"])
def test_a_nested_stack_gets_every_required_parameter(name: str) -> None:
    arguments = FULL.properties(name)["Parameters"]
    parameters = children(FULL)[name].template["Parameters"]

    assert set(arguments) <= set(parameters)
    assert {each for each in parameters if "Default" not in parameters[each]} <= set(arguments)
    assert all(value is not None for value in arguments.values())


def test_the_endpoint_has_the_same_name_everywhere() -> None:
    shared = FULL.value(read(TEMPLATE)["Globals"])["Function"]["Environment"]["Variables"]
    [invoke] = [each for each in FULL.statements("BatchRole") if each["Sid"] == "Ask"]
    name = children(FULL)["Endpoint"].properties("Endpoint")["EndpointName"]

    assert shared["HEATLENS_ASYNC_ENDPOINT"] == name
    assert FULL.outputs()["EndpointName"] == name
    assert invoke["Resource"].endswith(f":endpoint/{name}")
    assert FULL.properties("Observability")["Parameters"]["Endpoint"] == name


def test_the_endpoint_writes_below_async_and_scales_to_zero() -> None:
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


def test_the_endpoint_is_sent_two_engine_batches_and_no_more_than_it_admits() -> None:
    config = children(FULL)["Endpoint"].properties("EndpointConfig")["AsyncInferenceConfig"]["ClientConfig"]
    settings = ServerSettings()

    assert config["MaxConcurrentInvocationsPerInstance"] == settings.concurrency * settings.batch_images
    assert config["MaxConcurrentInvocationsPerInstance"] <= settings.in_flight


def test_the_costs_of_a_gpu_are_in_parameter_and_output() -> None:
    assert "billed from the deployment" in read(TEMPLATE)["Parameters"]["EndpointImageUri"]["Description"]
    assert "bills a GPU from now" in read(TEMPLATE)["Outputs"]["EndpointName"]["Description"]


def test_images_are_scanned_and_immutable() -> None:
    repository = Stack(ROOT / "infra" / "repository.yaml").properties("Repository")
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]

    assert repository["ImageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    # SAM's tags end in the template's DockerTag. The endpoint's image is pulled at every scale-out: it must be kept.
    patterns = [
        rule["selection"].get("tagPatternList") for rule in rules if rule["selection"]["tagStatus"] != "untagged"
    ]
    assert patterns == [[f"*-{read(TEMPLATE)['Resources']['ApiFunction']['Metadata']['DockerTag']}"]]


def test_every_intrinsic_function_is_resolved() -> None:
    for stack in (STACK, FULL, *children(FULL).values()):
        assert "Fn::" not in json.dumps(stack.resources())
