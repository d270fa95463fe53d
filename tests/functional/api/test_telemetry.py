"""The API function on Lambda: JSON lines with Lambda's request id, one access line, metrics, and a small import."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from heatlens_cli.events.make_event import make_event
from tests.functional.budget.test_imports import MOST_ON_LAMBDA
from tests.support.paths import ROOT, SAMPLES

LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "api", "HEATLENS_STACK": "heatlens-test", "AWS_REGION": "us-east-1"}
PROGRAM = """
import json, sys
from functions.api.handler import handler
loaded = list(sys.modules)
class Context:
    function_name, memory_limit_in_mb, aws_request_id = "api", 3008, "lambda-1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:api"
    def get_remaining_time_in_millis(self):
        return 20_000
for event in json.load(sys.stdin):
    handler(event, Context())
print(json.dumps({"loaded": loaded}))
"""


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    good = make_event(SAMPLES / "phantom-03-opacity.jpg", "http-api-v2", query="alpha=0.5", bucket="b")
    bad = good | {"rawQueryString": "alpha=Doe"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([good, bad]),
        cwd=ROOT,
        env=os.environ | LAMBDA,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_request_is_one_line_with_the_ids_of_lambda(lines: list[dict[str, Any]]) -> None:
    accesses = [line for line in lines if "route" in line and "_aws" not in line]

    assert [line["status"] for line in accesses] == [200, 422]
    for line in accesses:
        assert line["request_id"] == line["function_request_id"] == "lambda-1"
        assert (line["route"], line["method"]) == ("/api/inference/heatmap", "POST")
    assert (accesses[0]["model"], accesses[0]["engine"]) == ("demo-chest-phantom", "openvino")
    assert {"receive", "wait", "decode", "trunk", "tail", "encode", "deliver"} <= accesses[0]["stages_ms"].keys()
    assert "Doe" not in json.dumps(lines)


def test_each_request_is_counted_with_its_stages(lines: list[dict[str, Any]]) -> None:
    first, second = [line for line in lines if "_aws" in line]

    assert (first["Requests2xx"], first["ImagesOk"], first["Passes"], first["ColdStart"]) == ([1], [1], [1], [1])
    assert first["Pixels"][0] > 0
    assert first["DecodeMs"][0] > 0
    assert (first["service"], first["function"], first["stack"]) == ("heatlens", "api", "heatlens-test")
    assert [set(each) for each in first["_aws"]["CloudWatchMetrics"][0]["Dimensions"]] == [
        {"service", "function", "stack"}
    ]
    assert first["route"] == "/api/inference/heatmap"
    assert second["Requests4xx"] == [1]
    assert "ColdStart" not in second


def test_the_function_stays_within_its_module_budget_without_boto3_and_the_tracer(lines: list[dict[str, Any]]) -> None:
    loaded = set(lines[-1]["loaded"])

    assert "aws_lambda_powertools" in loaded
    assert {"boto3", "aws_xray_sdk", "torch", "pydicom", "prometheus_client"} & loaded == set()
    assert len(loaded) < MOST_ON_LAMBDA
