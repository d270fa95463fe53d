import json
import logging
from collections import Counter

import pytest
from aws_lambda_powertools.logging.filters import SuppressFilter

from functions.batch.logs import logger, metrics_of, write_counts
from heatlens_aws.metrics import COLD_START, ITEMS


@pytest.mark.parametrize("name", ["heatlens_aws.lambda_init", "functions.batch.context", "heatlens.registry"])
def test_the_logger_does_not_silence_the_loggers_of_the_packages(name: str) -> None:
    record = logging.LogRecord(name, logging.ERROR, "", 0, "the function cannot start: no bucket", None, None)

    assert SuppressFilter(logger.service).filter(record)


def test_counts_are_written_once_in_the_embedded_format(capsys: pytest.CaptureFixture[str]) -> None:
    metrics_of.cache_clear()
    metrics = metrics_of("batch")
    write_counts(metrics, Counter({ITEMS["OK"]: 2, ITEMS["FAILED"]: 1}))
    write_counts(metrics, Counter())
    write_counts(metrics, Counter({ITEMS["OK"]: 1}))

    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["ItemsOk"], first["ItemsFailed"], first["function"]) == ([2], [1], "batch")
    assert second["ItemsOk"] == [1]
    assert "ItemsFailed" not in second
    assert COLD_START.name not in second
