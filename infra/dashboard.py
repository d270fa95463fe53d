"""Describe the dashboard of `infra/alarms.yaml` for its page: a picture of its widgets, and what each one shows."""

import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml

TEMPLATE = Path(__file__).with_name("alarms.yaml")
OPTIONAL = {"Gpu", "Blocked"}  # widgets that exist with a parameter
GRID = 24  # columns of a dashboard
WIDTH = 4  # characters of a column in the picture

# What each widget shows while nothing is wrong.
NORMAL = {
    "Requests": "`5xx` stays at 0; `4xx` are errors of callers",
    "Latency, ms": "p99 under 20,000: the gateway gives up at 30,000",
    "Failed starts": "0, also after a deployment",
    "Duration p99, ms": "api under 29,000, batch under `BatchTimeout`, sweeper under 300,000",
    "Errors": "0. The API answers its failures itself: they are `5xx`, not errors",
    "Concurrency and throttles": "no throttles; batch at most `InteractiveConcurrency` and `BulkConcurrency` together",
    "Queues": "waiting falls while work is in flight; no dead letters",
    "Oldest message, s": "interactive under `InteractiveMessageSeconds`, bulk under `BulkMessageSeconds`",
    "Files": "`ItemsOk` far above `ItemsFailed`; a few `ItemsAgain` and `ItemsLater`",
    "Requests by class of status": "as Requests, without what the gateway refused",
    "Stages of requests, p99, ms": "steady between deployments, for images of one size",
    "Stages of files, p99, ms": "steady between deployments, for files of one size",
    "Cold starts": "some after an hour without work and after each deployment",
    "Time to start, p99, ms": "under 10,000, or Lambda starts the function again",
    "Wait in the queue, ms": "p99 near p50, except while a backlog exists",
    "Pixels and passes": "follows the number of images",
    "Batches by end": "succeeded and partial; no expired ones",
    "Sweeper": "`SweeperSuccess` is 5 in five minutes, `BatchesUnswept` is 0",
    "Images of requests": "`ImagesFailed` are mostly files that are no images",
    "Denied by AWS": "0: a policy or the KMS key is wrong",
    "Endpoint": "the backlog falls within minutes; `HasBacklogWithoutCapacity` is 1 only while an instance starts",
    "Requests that the firewall blocked": "0 for known callers; scanners of the internet appear here",
}


def widgets() -> list[dict[str, Any]]:
    """Read the widgets with the metrics of an HTTP API, the optional ones included; names of resources are left out."""
    text, variables = cfn_yaml.load(str(TEMPLATE))["Resources"]["Board"]["Properties"]["DashboardBody"]["Fn::Sub"]
    for name, value in variables.items():
        _, chosen, otherwise = value["Fn::If"]
        text = text.replace(f"${{{name}}}", _text(chosen if name in OPTIONAL else otherwise))
    body = json.loads(re.sub(r"\$\{([\w:]+)\}", r"\1", text))
    listed: list[dict[str, Any]] = body["widgets"]
    return listed


def dashboard_picture() -> str:
    """Return the widgets' titles in their places, as a block of text."""
    rows = groupby(sorted(widgets(), key=lambda each: (each["y"], each["x"])), key=lambda each: each["y"])
    edge = f"+{'-' * (GRID * WIDTH - 1)}+"
    return "\n".join(["```text", edge, *(line for _, row in rows for line in (_row(list(row)), edge)), "```\n"])


def dashboard_table() -> str:
    """Return the Markdown table of the widgets: their metrics with statistics and labels, and what is normal."""
    rows = (
        f"| {each['properties']['title']} | {'. '.join(_metrics(each))} | {NORMAL[each['properties']['title']]} |\n"
        for each in widgets()
    )
    return "| widget | metrics | normal |\n|---|---|---|\n" + "".join(rows)


def _text(value: str | dict[str, str]) -> str:
    return value if isinstance(value, str) else value["Fn::Sub"]


def _row(row: list[dict[str, Any]]) -> str:
    cells = (f"| {each['properties']['title']}".ljust(each["width"] * WIDTH) for each in row)
    return "".join(cells).ljust(GRID * WIDTH) + "|"


def _metrics(widget: dict[str, Any]) -> Iterator[str]:
    """Yield each statistic with its metrics, each with the labels of its lines."""
    lines = [(metric[1], metric[-1]) for metric in widget["properties"]["metrics"]]
    for statistic in dict.fromkeys(options["stat"] for _, options in lines):
        labels: dict[str, list[str]] = {}
        for name, options in lines:
            if options["stat"] == statistic:
                labels.setdefault(name, []).extend([options["label"]] if "label" in options else [])
        named = (f"`{name}`" + (f" ({'; '.join(listed)})" if listed else "") for name, listed in labels.items())
        yield f"{statistic}: {', '.join(named)}"
