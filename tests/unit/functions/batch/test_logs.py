import json
import logging
from collections import Counter

import pytest
from aws_lambda_powertools.logging.filters import SuppressFilter

from functions.batch.logs import error_summary, logger, write_metrics


@pytest.mark.parametrize("name", ["heatlens_aws.lambda_init", "functions.batch.context", "heatlens.registry"])
def test_the_logger_does_not_silence_the_loggers_of_the_packages(name: str) -> None:
    record = logging.LogRecord(name, logging.ERROR, "", 0, "the function cannot start: no bucket", None, None)

    assert SuppressFilter(logger.service).filter(record)


def test_an_error_is_logged_by_kind_and_place_without_its_message() -> None:
    try:
        raise ValueError("in/secret")
    except ValueError as error:
        summary = error_summary(error)

    assert summary.startswith("ValueError at test_an_error_is_logged_by_kind_and_place_without_its_message:")
    assert "secret" not in summary


def test_metrics_are_written_once_in_the_embedded_format(capsys: pytest.CaptureFixture[str]) -> None:
    write_metrics(Counter({"ItemsOk": 2, "ItemsFailed": 1}))
    write_metrics(Counter())
    write_metrics(Counter({"ItemsOk": 1}))

    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["ItemsOk"], first["ItemsFailed"], first["door"], first["service"]) == ([2], [1], "batch", "heatlens")
    assert first["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Heatlens"
    assert second["ItemsOk"] == [1]
    assert "ItemsFailed" not in second
