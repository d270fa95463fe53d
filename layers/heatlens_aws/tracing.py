"""X-Ray: annotate what a function does with batch and item numbers, and link a worker's trace to the batch's request.

An object in S3 carries no trace. The batch's row does: the request that opens it leaves its trace there, and each
worker's trace links to that one. Nothing is imported and nothing is sent unless `HEATLENS_TRACING` is true on Lambda.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from heatlens.settings import read_table
from heatlens_aws.settings import AwsSettings

_HEADER_ENV = "_X_AMZN_TRACE_ID"
_STORED = re.compile(r"(1-[0-9a-f]{8}-[0-9a-f]{24}):([0-9a-f]{16})")


class Tracing:
    """Writes sections of the running invocation's trace; without a recorder it does nothing."""

    def __init__(self, recorder: Any = None) -> None:  # noqa: ANN401 - the SDK is untyped and imported on demand
        self._recorder = recorder

    @contextmanager
    def section(self, name: str, *, link: str | None = None, **annotations: str | int) -> Iterator[None]:
        """Run a section.

        Args:
            name: Of the section.
            link: The trace to link to, as `current_trace` wrote it.
            annotations: What the section is about; never names, keys or queries.
        """
        if self._recorder is None:
            yield
            return
        section = self._recorder.begin_subsegment(name)
        for key, value in annotations.items():
            section.put_annotation(key, value)
        if parsed := _STORED.fullmatch(link or ""):
            section.links = [{"trace_id": parsed[1], "id": parsed[2]}]
            section.put_annotation("batch_trace", parsed[1])  # X-Ray searches annotations, and no links
        try:
            yield
        except BaseException:
            section.add_fault_flag()  # without the exception, whose message may hold what a client sent
            raise
        finally:
            self._recorder.end_subsegment()

    def annotate(self, **annotations: str | int | None) -> None:
        """Add to the running section."""
        if self._recorder is not None:
            for key, value in annotations.items():
                if value is not None:
                    self._recorder.put_annotation(key, value)

    def answer(self, status: int | None) -> None:
        """Mark the running section by the response's status, as X-Ray does: 4xx error, 429 throttle, 5xx fault."""
        if self._recorder is not None and (section := self._recorder.current_subsegment()):
            section.apply_status_code(status or 500)


def open_tracing() -> Tracing:
    """Return what writes the trace of this process; only if tracing is on, its library is loaded."""
    if not _is_on():
        return Tracing()
    from aws_lambda_powertools import Tracer  # with X-Ray's SDK: a hundred modules

    tracer = Tracer(service="heatlens", auto_patch=False)  # a patched client would write each object's key
    return Tracing(None if tracer.disabled else tracer.provider)


def current_trace() -> str | None:
    """Return the running invocation's trace and section, for a row; `None` where X-Ray does not record them.

    The header's fields are in any order: https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html
    """
    if not _is_on():
        return None
    parts = (part.strip().partition("=") for part in os.environ.get(_HEADER_ENV, "").split(";"))
    fields = {name: value for name, _, value in parts}
    stored = f"{fields.get('Root')}:{fields.get('Parent')}"
    return stored if fields.get("Sampled") == "1" and _STORED.fullmatch(stored) else None


def _is_on() -> bool:
    return read_table(AwsSettings).tracing
