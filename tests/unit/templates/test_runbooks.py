"""Each alarm has a runbook whose queries work on what is logged; every watched metric exists."""

import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from functions.batch import sweep
from heatlens.model import Model
from heatlens_aws.function_logs import make_logger
from heatlens_aws.metrics import METRICS, NAMESPACE
from heatlens_web.app import create_app
from heatlens_web.audit import Entry
from heatlens_web.settings import ServerSettings
from tests.support.aws import Account
from tests.support.paths import ROOT
from tests.support.stack import EVERYTHING, TEMPLATE, TEMPLATES, Json, Stack, children, read
from tests.support.staged import Context, desk, picture

RUNBOOKS = (ROOT / "infra" / "runbooks.md").read_text()
FULL = Stack(TEMPLATE, EVERYTHING | {"Canary": "true", "MonthlyBudget": 100})
GUARDED = Stack(TEMPLATE, EVERYTHING | {"Canary": "true", "MonthlyBudget": 100, "Firewall": "true", "CorsOrigins": ""})
PARTS = ("**Means**", "**Look**", "**Do**", "**Worked**")
PROCEDURES = {"Change a parameter", "Stuck batch", "Erase a batch", "Key disabled", "Restore from PITR", "Roll back"}
# What AWS publishes, as its documentation lists it: a misspelt metric is an alarm that is never raised.
PUBLISHED = {
    "AWS/ApiGateway": {"Count", "4xx", "5xx", "4XXError", "5XXError", "Latency"},
    "AWS/WAFV2": {"BlockedRequests"},
    "AWS/Lambda": {"Duration", "Errors", "Throttles", "ConcurrentExecutions"},
    "AWS/SQS": {
        "ApproximateNumberOfMessagesVisible",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateAgeOfOldestMessage",
    },
    "AWS/DynamoDB": {"ReadThrottleEvents", "WriteThrottleEvents"},
    "AWS/SageMaker": {
        "ApproximateBacklogSize",
        "ApproximateBacklogSizePerInstance",
        "HasBacklogWithoutCapacity",
        "Invocation5XXErrors",
        "ExpiredRequests",
        "RequestDownloadFailures",
        "ResponseUploadFailures",
    },
}
# The combinations of dimensions under which AWS publishes them: a metric with others has no points.
DIMENSIONS: dict[str, set[tuple[str, ...]]] = {
    "AWS/ApiGateway": {("ApiId", "Stage"), ("ApiName", "Stage")},
    "AWS/WAFV2": {("WebACL", "Region", "Rule")},
    "AWS/Lambda": {("FunctionName",)},
    "AWS/SQS": {("QueueName",)},
    "AWS/DynamoDB": {("TableName",), ("TableName", "GlobalSecondaryIndexName")},
    "AWS/SageMaker": {("EndpointName",), ("EndpointName", "VariantName")},
}
# Fields that Logs Insights finds in every line, and in Lambda's REPORT lines.
DISCOVERED = {"@timestamp", "@message", "@requestId", "@type", "@duration", "@initDuration", "@maxMemoryUsed"}
LANGUAGE = {
    "as",
    "asc",
    "avg",
    "bin",
    "by",
    "count",
    "desc",
    "fields",
    "filter",
    "in",
    "and",
    "or",
    "not",
    "ispresent",
    "like",
    "limit",
    "max",
    "min",
    "sort",
    "stats",
    "sum",
}


def alarms() -> dict[str, str]:
    """The description of each alarm of all templates, whatever its condition."""
    return {
        name: each["Properties"]["AlarmDescription"]
        for path in TEMPLATES
        for name, each in read(path)["Resources"].items()
        if each["Type"] == "AWS::CloudWatch::Alarm"
    }


def sections() -> dict[str, str]:
    """The text below each heading of the third level."""
    parts = re.split(r"(?m)^### (.+)$", RUNBOOKS)[1:]
    return {title: re.split(r"(?m)^## ", text)[0] for title, text in zip(parts[::2], parts[1::2], strict=True)}


def queries() -> Iterator[tuple[str, str, str]]:
    """The section, log group and text of each query."""
    for title, text in sections().items():
        for group, query in re.findall(r"(?ms)^```\n# (\w+)\n(.*?)^```$", text):
            yield title, group, query


def test_every_alarm_and_the_budget_has_a_runbook_and_nothing_else_has() -> None:
    assert set(sections()) - PROCEDURES == set(alarms()) | {"Spending"}
    assert set(sections()) >= PROCEDURES


@pytest.mark.parametrize("name", alarms())
def test_the_description_of_an_alarm_names_its_runbook(name: str) -> None:
    assert alarms()[name].endswith(f"Runbook infra/runbooks.md#{name.lower()}")


@pytest.mark.parametrize("title", sections())
def test_a_runbook_says_what_it_means_how_to_look_what_to_do_and_how_to_know(title: str) -> None:
    text = sections()[title].replace("**do**", "**Do**").replace("**worked**", "**Worked**")

    if title != "Roll back":  # the reasons to do it are in the other runbooks
        assert [part for part in PARTS if part not in text] == []
    assert "**Worked**" in text


def test_the_table_of_alarms_has_each_alarm_once_and_links_to_its_runbook() -> None:
    table = re.findall(r"(?ms)^## Alarms$(.*?)^## ", (ROOT / "infra" / "operations.md").read_text())[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| [")]
    named = [pair for row in rows for pair in re.findall(r"\[(\w+)\]\(runbooks\.md#(\w+)\)", row)]

    assert sorted(name for name, _ in named) == sorted({*alarms(), "Spending"})
    assert [name for name, anchor in named if anchor != name.lower()] == []


def stacks() -> Iterator[Stack]:
    """The whole stack with its children, for callers of the HTTP API and of the REST API."""
    for whole in (FULL, GUARDED):
        yield from (whole, *children(whole).values())


def metrics_of_alarms() -> Iterator[Json]:
    for stack in stacks():
        for resource in stack.resources("AWS::CloudWatch::Alarm").values():
            alarm = resource["Properties"]
            yield from (
                [alarm]
                if "MetricName" in alarm
                else (each["MetricStat"]["Metric"] for each in alarm["Metrics"] if "MetricStat" in each)
            )


def metrics_of_the_dashboard() -> Iterator[Json]:
    bodies = [children(whole)["Observability"].properties("Board")["DashboardBody"] for whole in (FULL, GUARDED)]
    for widget in (each for body in bodies for each in json.loads(body)["widgets"]):
        for namespace, name, *rest in widget["properties"]["metrics"]:
            names = rest[:-1] if isinstance(rest[-1], dict) else rest
            pairs = zip(names[::2], names[1::2], strict=True)
            yield {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [{"Name": each, "Value": value} for each, value in pairs],
            }


def written(metric: Json) -> bool:
    """Whether AWS, a log filter or the code writes a metric."""
    namespace, name = metric["Namespace"], metric["MetricName"]
    if namespace == NAMESPACE:
        dimensions = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
        where = {"api": "API"}.get(dimensions["function"], dimensions["function"])
        return any(
            each.name == name and where in each.where and set(each.labels) == set(dimensions) for each in METRICS
        )
    if namespace.startswith("AWS/"):
        named = tuple(each["Name"] for each in metric["Dimensions"])
        return name in PUBLISHED[namespace] and named in DIMENSIONS[namespace]
    filters = children(FULL)["Observability"].resources("AWS::Logs::MetricFilter").values()
    made = [each for filter_ in filters for each in filter_["Properties"]["MetricTransformations"]]
    return any((each["MetricNamespace"], each["MetricName"]) == (namespace, name) for each in made)


@pytest.mark.parametrize("source", [metrics_of_alarms, metrics_of_the_dashboard])
def test_every_watched_metric_is_written(source: Callable[[], Iterator[Json]]) -> None:
    found = list(source())

    assert len(found) > 20
    assert [(each["Namespace"], each["MetricName"]) for each in found if not written(each)] == []


def keys(capsys: pytest.CaptureFixture[str]) -> set[str]:
    return {key for line in capsys.readouterr().out.splitlines() if line.startswith("{") for key in json.loads(line)}


@pytest.fixture
def fields(
    aws: Account, tiny_model: Model, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, set[str]]:
    """The keys of the lines that each log group gets, from lines that the code has written."""
    staged = desk(aws, tiny_model)
    staged.batch(picture(), b"no image", picture(2))
    stored = [staged.put(picture()), staged.put(b"no image", 1)]
    staged.invoke(staged.received(*stored, "not json"))
    monkeypatch.setattr("heatlens_aws.staging.Staging.read", _refused)
    staged.work(staged.received(staged.put(picture(2), 2), receives=2))
    monkeypatch.undo()
    batch = keys(capsys)
    monkeypatch.setattr(sweep, "advance", _refused)
    sweep.sweep(staged.context.account, 1_000_000_000, lambda: 100)
    make_logger("batch-worker").info("lost", batch="", events=1)  # after hours of waiting
    make_logger("batch-worker").info("notice", batch="", number=0, state="", code="")  # as the test of lost files sees
    sweeper = keys(capsys)
    logger = make_logger("api")
    logger.inject_lambda_context(lambda event, context: logger.error("line"))({}, Context())
    api = keys(capsys)
    stage = FULL.properties("Stage")["AccessLogSettings"]["Format"]
    return {
        "BatchLogs": batch,
        "SweeperLogs": sweeper,
        "ApiLogs": api,
        "AccessLogs": set(json.loads(stage)),
        "EndpointLogs": set(),
        "AuditLogs": audited(),
    }


def _refused(*_: object, **__: object) -> None:
    raise TimeoutError


def audited() -> set[str]:
    """The keys of an audit line."""
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append  # type: ignore[assignment]
    log = logging.getLogger("heatlens.audit")
    log.addHandler(handler)
    try:
        TestClient(create_app(ServerSettings(), deployment="lambda")).get("/api/inference/health")
    finally:
        log.removeHandler(handler)
    return set(json.loads(seen[-1].getMessage()))


def used(query: str) -> set[str]:
    """The fields that a query reads: its words without texts, patterns, functions' names and own names."""
    bare = re.sub(r'"[^"]*"|/[^/\n]*/', " ", query)
    named = set(re.findall(r"\bas (\w+)", bare))
    words = set(re.findall(r"(?<![\w.])@?[A-Za-z_]\w*", re.sub(r"\b\w+\(", "(", bare)))
    return {word for word in words if not re.fullmatch(r"[0-9]*[ms]", word)} - LANGUAGE - named


def test_the_queries_read_fields_that_are_logged(fields: dict[str, set[str]]) -> None:
    listed = list(queries())
    unknown = [(title, field) for title, group, query in listed for field in used(query) - fields[group] - DISCOVERED]

    assert len(listed) > 15
    assert {group for _, group, _ in listed} == set(fields)
    assert unknown == []


def test_the_queries_fields_are_read_correctly() -> None:
    query = (
        'filter level = "ERROR" and @message like /Task timed/\n'
        "| stats max(@duration / 10) as slow by bin(5m), code\n"
        "| sort slow desc\n"
    )

    assert used(query) == {"level", "@message", "@duration", "code"}


def test_the_log_groups_of_the_queries_are_resources() -> None:
    resources = {name for path in TEMPLATES for name in read(path)["Resources"]} | {"EndpointLogs"}

    assert {group for _, group, _ in queries()} <= resources


def test_the_fields_of_an_audit_line_are_documented() -> None:
    table = (ROOT / "infra" / "operations.md").read_text()

    assert [name for name in audited() if f"| `{name}` |" not in table] == []
    assert set(Entry.__dataclass_fields__) >= {"action", "batch_id", "items", "outcome"}
