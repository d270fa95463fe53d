"""Write a function's metrics to CloudWatch in the embedded metric format."""

from collections.abc import Mapping

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from heatlens_aws.metrics import COLD_START, INIT_MS, NAMESPACE, SERVICE, STAGES, Metric
from heatlens_aws.process_age import process_age_ms


class FunctionMetrics:
    """The metrics of one event at a time; `write` empties them."""

    def __init__(self, function: str, stack: str) -> None:
        """Begin when the function is ready: its first event is reported as a cold start, with the time until now.

        Args:
            function: `api`, `batch` or `sweeper`.
            stack: The name of the stack, so that two in one account differ.
        """
        # The plain class shares its values with every other instance of the process.
        self._metrics = EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
        self._metrics.set_default_dimensions(function=function, stack=stack)
        self._any = False
        self.add(COLD_START, 1)
        self.add(INIT_MS, process_age_ms())

    def add(self, metric: Metric, value: float) -> None:
        """Add a value; several of one metric are kept apart, so that percentiles are right."""
        self._metrics.add_metric(name=metric.name, unit=MetricUnit(metric.unit), value=round(value, 3))
        self._any = True

    def add_stages(self, stages_ms: Mapping[str, float]) -> None:
        """Add the milliseconds of the stages that have a metric."""
        for stage in stages_ms.keys() & STAGES.keys():
            self.add(STAGES[stage], stages_ms[stage])

    def write(self, properties: Mapping[str, str] | None = None) -> None:
        """Write what was added as one line, with properties that are no dimensions; nothing where nothing was added."""
        if not self._any:
            return
        for name, value in (properties or {}).items():
            self._metrics.add_metadata(key=name, value=value)
        self._metrics.flush_metrics()
        self._any = False
