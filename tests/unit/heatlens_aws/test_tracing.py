"""Sections of a trace as X-Ray receives them: annotated, linked, and without what a client sent."""

import json
import subprocess
import sys
from typing import Any

import pytest
from aws_xray_sdk.core.recorder import AWSXRayRecorder

from heatlens_aws.tracing import Tracing, current_trace, open_tracing
from tests.support.paths import ROOT

HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
TRACE = "1-5759e988-bd862e3fe1be46a994272793:53995c3f42cd8ad8"


class Sent:
    """Keeps the segments that the recorder would send."""

    def __init__(self) -> None:
        self.segments: list[Any] = []

    def send_entity(self, entity: Any) -> None:  # noqa: ANN401 - the SDK is untyped
        self.segments.append(json.loads(entity.serialize()))


@pytest.fixture
def recorder() -> Any:  # noqa: ANN401 - the SDK is untyped
    made = AWSXRayRecorder()
    made.emitter._socket.close()  # it listens for nothing, and is replaced
    made.configure(sampling=False, emitter=Sent(), context_missing="RUNTIME_ERROR")
    made.begin_segment("function")
    return made


def ended(recorder: Any) -> Any:  # noqa: ANN401 - the SDK is untyped
    recorder.end_segment()
    return recorder.emitter.segments[-1]["subsegments"][0]


def test_a_section_has_its_annotations_and_links_to_the_trace_of_the_batch(recorder: Any) -> None:  # noqa: ANN401
    with Tracing(recorder).section("batch", link=TRACE, batch="01J0", items="0,2"):
        pass

    section = ended(recorder)
    assert section["annotations"] == {"batch": "01J0", "items": "0,2"}
    assert section["links"] == [{"trace_id": TRACE.partition(":")[0], "id": TRACE.partition(":")[2]}]


def test_a_section_that_fails_says_so_without_the_message(recorder: Any) -> None:  # noqa: ANN401
    with pytest.raises(KeyError), Tracing(recorder).section("batch", link="no trace"):
        raise KeyError("plantedMark7f3a")

    section = ended(recorder)
    assert section["fault"] is True
    assert "links" not in section
    assert "plantedMark7f3a" not in json.dumps(section)


def test_more_is_added_to_the_running_section(recorder: Any) -> None:  # noqa: ANN401
    tracing = Tracing(recorder)
    with tracing.section("request"):
        tracing.annotate(route="/x", batch=None)

    assert ended(recorder)["annotations"] == {"route": "/x"}


def test_the_trace_of_an_invocation_is_known_only_if_tracing_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", HEADER)
    assert current_trace() is None

    monkeypatch.setenv("HEATLENS_TRACING", "true")
    assert current_trace() == TRACE

    monkeypatch.setenv("_X_AMZN_TRACE_ID", "anything")
    assert current_trace() is None


def test_without_tracing_the_library_is_not_imported() -> None:
    program = "import heatlens_aws.tracing as t, sys; t.open_tracing(); print('aws_xray_sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False"]


def test_nothing_is_sent_without_tracing() -> None:
    with open_tracing().section("batch", batch="01J0"):
        open_tracing().annotate(route="/x")
