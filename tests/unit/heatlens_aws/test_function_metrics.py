import json

import pytest

from heatlens_aws.function_metrics import FunctionMetrics
from heatlens_aws.metrics import CLOUDWATCH_DIMENSIONS, PIXELS, STAGES


def test_metrics_have_the_three_dimensions_alone_and_the_stack_they_belong_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    metrics = FunctionMetrics("api", "heatlens-test")
    metrics.add(STAGES["decode"], 1.23456)
    metrics.add(STAGES["decode"], 2)
    metrics.write({"route": "/api/inference/heatmap"})

    line = json.loads(capsys.readouterr().out)
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Heatlens"
    assert [set(names) for names in directive["Dimensions"]] == [set(CLOUDWATCH_DIMENSIONS)]
    assert (line["service"], line["function"], line["stack"]) == ("heatlens", "api", "heatlens-test")
    assert line["DecodeMs"] == [1.235, 2]
    assert line["route"] == "/api/inference/heatmap"


def test_the_first_line_of_a_process_says_that_it_started(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = FunctionMetrics("api", "none")
    for _ in range(2):
        metrics.add(PIXELS, 4)
        metrics.write()

    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["ColdStart"] == [1]
    assert first["InitMs"][0] > 0
    assert {"ColdStart", "InitMs"} & second.keys() == set()


def test_functions_in_one_process_do_not_share_their_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = FunctionMetrics("api", "none"), FunctionMetrics("batch", "none")
    one.add(PIXELS, 4)
    other.write()

    assert "Pixels" not in json.loads(capsys.readouterr().out)
