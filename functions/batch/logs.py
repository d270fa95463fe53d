"""The batch functions' log and CloudWatch metrics; neither holds file names, keys or addresses."""

import os
from collections import Counter
from functools import cache
from typing import Any

from heatlens_aws.denials import is_denied
from heatlens_aws.error_summary import error_summary
from heatlens_aws.function_logs import make_logger, share_format
from heatlens_aws.function_metrics import FunctionMetrics
from heatlens_aws.lambda_init import is_lambda
from heatlens_aws.metrics import ACCESS_DENIED, Metric
from heatlens_aws.settings import STACK
from heatlens_aws.tracing import Tracing, open_tracing

__all__ = ["error_summary", "log_failure", "logger", "metrics_of", "tracing", "write_counts"]

# A logger takes the records of every logger whose name contains its own: "heatlens" would silence the packages'.
logger = make_logger("batch-worker")
if is_lambda():
    share_format(logger)


@cache
def metrics_of(function: str) -> FunctionMetrics:
    """Return the metrics of a function; the first call is the moment when the function is ready."""
    return FunctionMetrics(function, os.environ.get(STACK) or "none")


@cache
def tracing() -> Tracing:
    """Return what writes the traces of this process."""
    return open_tracing()


def log_failure(message: str, error: Exception, counts: Counter[Metric], **fields: Any) -> None:  # noqa: ANN401 - JSON
    """Log a failure that a later try may repair; count it, and log it as an error, where AWS denied access."""
    if is_denied(error):
        counts[ACCESS_DENIED] += 1
        logger.error(message, error=error_summary(error), **fields)
    else:
        logger.warning(message, error=error_summary(error), **fields)


def write_counts(metrics: FunctionMetrics, counts: Counter[Metric]) -> None:
    """Write counts, and what else was added, in CloudWatch's embedded metric format; nothing where there is none."""
    for metric, count in counts.items():
        metrics.add(metric, count)
    metrics.write()
