"""Log one line for each request, and hand its facts to metrics: route, status, times, bytes, model and engine.

The facts hold no name, body, link, query or key that a client sent: an address is only known by its route.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heatlens.errors import HeatlensError
from heatlens.model import Model
from heatlens.plan import make_plan
from heatlens.results import Explanation
from heatlens.types import Options, Scores
from heatlens_aws.metrics import ACCESS_DENIED, Metric
from heatlens_web.request_id import ID_KEY

logger = logging.getLogger("heatlens.access")

NO_ROUTE = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_LEFT = 499  # the request ended without a response, because its client had gone
FAILED = 500


@dataclass(slots=True)
class Access:
    """The facts of one request; times in milliseconds."""

    method: str
    began: float = field(default_factory=time.perf_counter)
    request_id: str = ""
    route: str = NO_ROUTE
    status: int = CLIENT_LEFT
    ms: float = 0
    bytes_in: int = 0
    bytes_out: int = 0
    model: str | None = None
    engine: str | None = None
    images_ok: int = 0
    images_failed: int = 0
    pixels: int = 0
    passes: int = 0
    stages_ms: dict[str, float] = field(default_factory=dict)
    batch: str | None = None
    items: str | None = None
    ended: Counter[Metric] = field(default_factory=Counter)  # files and batches that ended by this request, denials

    def add_stage(self, stage: str, ms: float) -> None:
        """Add time to a stage."""
        self.stages_ms[stage] = self.stages_ms.get(stage, 0) + ms

    def add_outcomes(
        self, model: Model, options: Options, outcomes: Sequence[Explanation | Scores | HeatlensError], ms: float
    ) -> None:
        """Add what became of a request's images; `ms` is how long that took, of which they waited a part."""
        done = [each for each in outcomes if not isinstance(each, HeatlensError)]
        for each in done:
            for stage, stage_ms in each.timings_ms.items():
                self.add_stage(stage, stage_ms)
        self.add_stage("wait", max(0.0, ms - sum(sum(each.timings_ms.values()) for each in done)))
        self.engine = model.facts(options)["engine"]
        self.images_ok += len(done)
        self.images_failed += len(outcomes) - len(done)
        self.pixels += sum(each.width * each.height for each in done)
        explained = sum(isinstance(each, Explanation) for each in done)
        self.passes += len(done) - explained + (explained * make_plan(model, options).passes if explained else 0)

    def fields(self) -> dict[str, Any]:
        """Return what the line in the log says."""
        facts = {
            "request_id": self.request_id,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "ms": round(self.ms, 1),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "model": self.model,
            "engine": self.engine,
            "batch": self.batch,
            "items": self.items,
            "images_ok": self.images_ok or None,
            "images_failed": self.images_failed or None,
            "stages_ms": {stage: round(ms, 1) for stage, ms in self.stages_ms.items()} or None,
        }
        return {name: value for name, value in facts.items() if value is not None}


def count_denial(error: Exception) -> None:
    """Count a request that failed because AWS denied access."""
    from heatlens_aws.denials import is_denied  # it loads botocore, which has answered where there is a denial

    if is_denied(error):
        current_access().ended[ACCESS_DENIED] += 1


Observer = Callable[[Access], None]
_current: ContextVar[Access | None] = ContextVar("heatlens_access", default=None)


def current_access() -> Access:
    """Return the facts of the request that this code answers; facts that nobody reads outside of one."""
    return _current.get() or Access("")


class AccessLog:
    """ASGI middleware around all others: the response of any of them is logged."""

    def __init__(self, app: ASGIApp, observers: Sequence[Observer]) -> None:
        """Wrap an application.

        Args:
            app: The application.
            observers: Called with the facts of each request after its last byte.
        """
        self._app, self._observers = app, observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, then log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        access = Access(scope["method"] if scope["method"] in METHODS else "other")

        async def counting_receive() -> Message:
            message = await receive()
            access.bytes_in += len(message.get("body", b""))
            return message

        async def counting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                access.status = message["status"]
            access.bytes_out += len(message.get("body", b""))
            await send(message)

        token = _current.set(access)
        try:
            await self._app(scope, counting_receive, counting_send)
        except Exception:
            access.status = FAILED  # the framework answers it, outside of every middleware
            raise
        finally:
            _current.reset(token)
            self._finish(access, scope)

    def _finish(self, access: Access, scope: Scope) -> None:
        access.ms = (time.perf_counter() - access.began) * 1000
        access.request_id = scope.get(ID_KEY, "")
        access.route = route_of(scope)
        for observe in self._observers:
            observe(access)


def route_of(scope: Scope) -> str:
    """Return the template of the route that answered, such as `/api/inference/batches/{batch_id}`."""
    route = scope.get("route")
    return str(getattr(route, "path", NO_ROUTE))


def log_access(access: Access) -> None:
    """Log one line; a formatter of JSON has the fields, one of text the message."""
    logger.info(
        "%s %s %d in %.1f ms", access.method, access.route, access.status, access.ms, extra={"access": access.fields()}
    )
