"""What the API function logs, counts and traces on AWS Lambda."""

import os
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from heatlens_aws.function_logs import make_logger, share_format
from heatlens_aws.function_metrics import FunctionMetrics
from heatlens_aws.metrics import IMAGES_FAILED, IMAGES_OK, PASSES, PIXELS, REQUEST_MS, REQUESTS
from heatlens_aws.settings import STACK
from heatlens_aws.tracing import Tracing, open_tracing
from heatlens_web.access import Access

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


class RequestMetrics:
    """Writes the metrics of each request; its observer is called by the application."""

    def __init__(self, metrics: FunctionMetrics, tracing: Tracing) -> None:
        self._metrics, self._tracing = metrics, tracing

    def observe(self, access: Access) -> None:
        """Annotate the trace, and write one line of metrics; the route is a property: a dimension costs."""
        add = self._metrics.add
        add(REQUESTS[access.status // 100], 1)
        add(REQUEST_MS, access.ms)
        self._metrics.add_stages(access.stages_ms)
        counts = {IMAGES_OK: access.images_ok, IMAGES_FAILED: access.images_failed}
        counts |= {PIXELS: access.pixels, PASSES: access.passes, **access.ended}
        for metric, count in counts.items():
            if count:
                add(metric, count)
        self._tracing.annotate(route=access.route, status=access.status, batch=access.batch, items=access.items)
        self._tracing.answer(access.status)
        self._metrics.write({"route": access.route, "request_id": access.request_id})


def observed(app: FastAPI, handler: Handler) -> Handler:
    """Let a handler log JSON with Lambda's request id, and the application write metrics."""
    logger = make_logger("api-function")
    share_format(logger)
    metrics = FunctionMetrics("api", os.environ.get(STACK) or "none")
    tracing = open_tracing()
    app.state.observers.append(RequestMetrics(metrics, tracing).observe)

    def traced(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
        with tracing.section("request"):
            return handler(event, context)

    logged: Handler = logger.inject_lambda_context(traced, log_event=False)  # an event holds the body
    return logged
