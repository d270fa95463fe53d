"""Answer `GET /metrics` in Prometheus' format. No label's value comes from a request."""

from fastapi import FastAPI, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest

from heatlens_aws.metrics import (
    PIPELINE_STAGES,
    REQUEST_STAGES,
    SERVER_IMAGES,
    SERVER_INIT_SECONDS,
    SERVER_PASSES,
    SERVER_PIXELS,
    SERVER_REQUEST_SECONDS,
    SERVER_REQUESTS,
    SERVER_STAGE_SECONDS,
    SERVER_WAIT_SECONDS,
    Metric,
)
from heatlens_aws.process_age import process_age_ms
from heatlens_web.access import Access

PATH = "/metrics"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
STAGES = {**PIPELINE_STAGES, **REQUEST_STAGES}


class ServerMetrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        """Begin when the model is loaded: the time until now is the server's start."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each: when it began
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = self._counter(SERVER_REQUESTS)
        self._seconds = self._histogram(SERVER_REQUEST_SECONDS)
        self._stages = self._histogram(SERVER_STAGE_SECONDS)
        self._wait = self._histogram(SERVER_WAIT_SECONDS)
        self._images = self._counter(SERVER_IMAGES)
        self._pixels = self._counter(SERVER_PIXELS)
        self._passes = self._counter(SERVER_PASSES)
        init = Gauge(SERVER_INIT_SECONDS.name, SERVER_INIT_SECONDS.meaning, registry=self.registry)
        init.set(process_age_ms() / 1000)

    def observe(self, access: Access) -> None:
        """Count one request."""
        self._requests.labels(access.route, f"{access.status // 100}xx").inc()
        self._seconds.labels(access.route).observe(access.ms / 1000)
        for stage in access.stages_ms.keys() & STAGES.keys():
            self._stages.labels(STAGES[stage].lower()).observe(access.stages_ms[stage] / 1000)
        if "wait" in access.stages_ms:
            self._wait.observe(access.stages_ms["wait"] / 1000)
        self._images.labels("ok").inc(access.images_ok)
        self._images.labels("failed").inc(access.images_failed)
        self._pixels.inc(access.pixels)
        self._passes.inc(access.passes)

    def install(self, app: FastAPI) -> None:
        """Add the route to an application."""

        async def metrics() -> Response:
            return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

        app.add_api_route(PATH, metrics, methods=["GET"], include_in_schema=False)

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.meaning, metric.labels, registry=self.registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.name, metric.meaning, metric.labels, registry=self.registry, buckets=BUCKETS)
