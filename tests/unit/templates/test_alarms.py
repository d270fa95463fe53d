"""Alarms and dashboard watch resources that exist and messages and metrics that the code writes."""

import json

import pytest

from functions.batch import tasks
from heatlens_aws.metrics import METRICS, NAMESPACE, SERVICE
from heatlens_aws.records import OPEN_INDEX, FileState
from tests.support.paths import ROOT
from tests.support.stack import ACCOUNT, EVERYTHING, FUNCTIONS, PSEUDO, REGION, TEMPLATE, Json, Stack, children

STACK = Stack(TEMPLATE)
FULL = Stack(TEMPLATE, EVERYTHING)
QUEUES = [f"{lane}{kind}" for lane in ("Interactive", "Bulk") for kind in ("Queue", "DeadLetters")]


def alarms(stack: Stack) -> dict[str, Json]:
    by_name = {
        f"{name}.{alarm}": resource["Properties"]
        for name, child in children(stack).items()
        for alarm, resource in child.resources("AWS::CloudWatch::Alarm").items()
    }
    assert by_name
    return by_name


def metrics(alarm: Json) -> list[Json]:
    """The one or several metrics that an alarm watches."""
    if "MetricName" in alarm:
        return [alarm]
    return [each["MetricStat"]["Metric"] for each in alarm["Metrics"] if "MetricStat" in each]


def test_the_alarms_watch_every_decided_metric() -> None:
    watched = {(each["Namespace"], each["MetricName"]) for alarm in alarms(FULL).values() for each in metrics(alarm)}

    assert watched >= {
        ("AWS/ApiGateway", "5xx"),
        ("AWS/ApiGateway", "Latency"),
        ("AWS/Lambda", "Duration"),
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage"),
        ("AWS/SageMaker", "HasBacklogWithoutCapacity"),
        ("AWS/SageMaker", "ApproximateBacklogSizePerInstance"),
        ("Heatlens/Heatlens", "FailedStarts"),
    }


def test_the_dimensions_of_alarms_name_existing_resources() -> None:
    physical = {
        "ApiId": {FULL.name("HttpApi")},
        "Stage": {"$default"},
        "FunctionName": {FULL.name(name) for name in FUNCTIONS},
        "QueueName": {f"{name}.QueueName" for name in QUEUES},
        "EndpointName": {FULL.outputs()["EndpointName"], "Endpoint.EndpointName"},
        "VariantName": {"AllTraffic"},
        "TableName": {FULL.name("Table")},
        "GlobalSecondaryIndexName": {OPEN_INDEX},
        "service": {SERVICE},
        "function": {"api", "batch", "sweeper"},
        "stack": {PSEUDO["AWS::StackName"]},
    }
    dimensions = [
        each for alarm in alarms(FULL).values() for metric in metrics(alarm) for each in metric.get("Dimensions", [])
    ]

    assert len(dimensions) > 10
    assert [each for each in dimensions if each["Value"] not in physical[each["Name"]]] == []
    assert {each["Value"] for each in dimensions if each["Name"] == "QueueName"} == physical["QueueName"]


@pytest.mark.parametrize(
    ("given", "action"),
    [
        ({"AlarmEmail": "a@example.org"}, "topic"),
        ({"AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:mine"}, f"arn:aws:sns:{REGION}:{ACCOUNT}:mine"),
        ({}, None),
    ],
)
def test_alarms_are_sent_to_the_given_address_or_topic(given: Json, action: str | None) -> None:
    stack = Stack(TEMPLATE, given)
    child = children(stack)["Observability"]

    actions = {json.dumps(alarm.get("AlarmActions")) for alarm in alarms(stack).values()}
    assert actions == {json.dumps([action] if action else None)}
    assert child.outputs()["TopicArn"] == (action or "")
    assert bool(child.resources("AWS::SNS::Subscription")) is (action == "topic")


def test_every_alarm_has_a_description() -> None:
    assert [name for name, alarm in alarms(FULL).items() if len(alarm["AlarmDescription"]) < 40] == []


def test_the_log_filters_match_the_messages_that_the_functions_log() -> None:
    sources = {
        "ApiAuditLost": ROOT / "layers/heatlens_aws/audit_log.py",
        "ApiModelUnavailable": ROOT / "layers/heatlens/registry.py",
        "BatchStartRefused": ROOT / "layers/heatlens_aws/lambda_init.py",
        "SweeperStartRefused": ROOT / "layers/heatlens_aws/lambda_init.py",
    }
    filters = children(STACK)["Observability"].resources("AWS::Logs::MetricFilter")

    assert set(sources) < set(filters)
    for name, source in sources.items():
        phrase = filters[name]["Properties"]["FilterPattern"].strip('"')
        assert f'logger.error("{phrase}' in source.read_text()


def test_the_log_filters_write_the_metric_of_the_alarm() -> None:
    child = children(STACK)["Observability"]
    counted = {
        (each["MetricNamespace"], each["MetricName"])
        for filter_ in child.resources("AWS::Logs::MetricFilter").values()
        for each in filter_["Properties"]["MetricTransformations"]
    }

    watched = [metric for name in ("FailedStarts", "AuditLost") for metric in metrics(child.properties(name))]
    assert counted == {(each["Namespace"], each["MetricName"]) for each in watched}


def widgets(stack: Stack) -> list[Json]:
    body: Json = json.loads(children(stack)["Observability"].properties("Board")["DashboardBody"])
    listed: list[Json] = body["widgets"]
    return listed


def test_the_list_has_a_metric_for_each_state_that_the_worker_reports() -> None:
    ends = [each.state for each in vars(tasks).values() if isinstance(each, tasks.ItemEnd)]
    states = {*FileState, *ends, tasks.AGAIN, tasks.LATER}

    assert {each.name for each in METRICS if each.name.startswith("Items")} == {
        f"Items{each.title()}" for each in states
    }


def test_the_dashboard_shows_each_metric_of_the_list_for_each_function_that_emits_it() -> None:
    shown = {
        (each[1], each[5])
        for widget in widgets(FULL)
        for each in widget["properties"]["metrics"]
        if each[0] == NAMESPACE
    }

    assert shown == {(metric.name, place.lower()) for metric in METRICS for place in metric.where}


def test_the_dashboard_shows_metrics_of_the_list_by_functions_that_emit_them() -> None:
    shown = [each for widget in widgets(FULL) for each in widget["properties"]["metrics"] if each[0] == NAMESPACE]
    where = {metric.name: {place.lower() for place in metric.where} for metric in METRICS}

    assert [each[1] for each in shown if each[5] not in where[each[1]]] == []
    assert {(each[2], each[3], each[4], each[6], each[7]) for each in shown} == {
        ("service", SERVICE, "function", "stack", "Heatlens")
    }
    assert {
        "RequestMs",
        "ColdStart",
        "InitMs",
        "QueueWaitMs",
        "Pixels",
        "Passes",
        "BatchesExpired",
        "SweeperSuccess",
    } <= {each[1] for each in shown}


def test_the_dashboard_shows_every_queue_and_how_long_its_messages_wait() -> None:
    shown = [metric for widget in widgets(STACK) for metric in widget["properties"]["metrics"] if "SQS" in metric[0]]
    visible, age = "ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"

    assert {metric[3] for metric in shown if metric[1] == visible} == {f"{name}.QueueName" for name in QUEUES}
    assert {metric[3] for metric in shown if metric[1] == age} == {f"{name}.QueueName" for name in QUEUES[::2]}


def test_the_bulk_alarm_comes_before_the_queue_deletes_messages() -> None:
    child = children(STACK)["Observability"]

    assert child.properties("InteractiveUploadsWait")["Threshold"] == 900
    assert child.properties("BulkUploadsWait")["Threshold"] == 172_800
    assert STACK.properties("BulkQueue")["MessageRetentionPeriod"] > 172_800


def test_the_dashboard_shows_the_endpoint_only_if_there_is_one() -> None:
    assert len(widgets(FULL)) == len(widgets(STACK)) + 1
    assert "AWS/SageMaker" not in json.dumps(widgets(STACK))


def test_throttled_reads_and_writes_of_the_table_and_of_its_index_raise_the_alarm() -> None:
    alarm = children(FULL)["Observability"].properties("TableThrottled")
    watched = {
        (each["MetricName"], each["Dimensions"][1]["Value"] if len(each["Dimensions"]) > 1 else "")
        for each in metrics(alarm)
    }

    names, places = ("ReadThrottleEvents", "WriteThrottleEvents"), ("", OPEN_INDEX)
    assert watched == {(name, place) for name in names for place in places}
