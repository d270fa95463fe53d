"""The batch functions' log and CloudWatch metrics; neither holds file names, keys or addresses."""

import traceback
from collections import Counter

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

NAMESPACE, SERVICE = "Heatlens", "heatlens"
DIMENSIONS = {"door": "batch"}  # each combination costs as a metric of its own
# A logger takes the records of every logger whose name contains its own: "heatlens" would silence the packages'.
logger = Logger(service="batch-worker")
metrics = Metrics(namespace=NAMESPACE, service=SERVICE)
metrics.set_default_dimensions(**DIMENSIONS)


def error_summary(error: BaseException) -> str:
    """Describe an error by kind and place; its message may hold keys."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" at {places[-1].name}:{places[-1].lineno}" if places else ""
    response = getattr(error, "response", {})
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    return f"{type(error).__name__}{f' {code}' if code else ''}{where}"


def write_metrics(counts: Counter[str]) -> None:
    """Write counts in CloudWatch's embedded metric format; nothing where there are none."""
    for name, count in counts.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=count)
    if counts:
        metrics.flush_metrics()
