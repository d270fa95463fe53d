"""What the functions write to CloudWatch is what the table of metrics lists, through their handlers."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from heatlens_aws.metrics import METRICS, NAMESPACE, SERVICE
from tests.support.paths import ROOT

FUNCTIONS = {"API": "api", "batch": "batch", "sweeper": "sweeper"}


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.metered"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [line for line in found if "_aws" in line]


def table() -> dict[tuple[str, str], str]:
    """The unit of each metric and function, as `functions/metrics.md` lists them."""
    text = (ROOT / "functions" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| service, function, stack \| ([^|]+) \|", text, re.MULTILINE)
    return {(name, FUNCTIONS[place]): unit for name, unit, where in rows for place in where.strip().split(", ")}


def test_the_functions_write_every_metric_of_the_table_and_no_other(lines: list[dict[str, Any]]) -> None:
    written = {
        (metric["Name"], line["function"]): metric["Unit"]
        for line in lines
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }

    listed = table()
    assert len(listed) > len(METRICS)
    assert written == listed


def test_every_metric_has_the_dimensions_of_the_table_and_a_value(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        [directive] = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == NAMESPACE
        assert [set(names) for names in directive["Dimensions"]] == [{"service", "function", "stack"}]
        assert (line["service"], line["stack"]) == (SERVICE, "metered")
        assert all(value >= 0 for metric in directive["Metrics"] for value in line[metric["Name"]])
