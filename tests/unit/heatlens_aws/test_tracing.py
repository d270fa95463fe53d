"""Sections of a trace as X-Ray receives them: annotated, linked, and without what a client sent."""

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
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
    assert section["annotations"] == {"batch": "01J0", "items": "0,2", "batch_trace": TRACE.partition(":")[0]}
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


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"{HEADER};Lineage=1:a87bd80c:0", TRACE),
        ("Self=1-67891234-12456789abcdef012345678;Sampled=1;Parent=53995c3f42cd8ad8; Root=" + TRACE[:35], TRACE),
        (HEADER.replace("Sampled=1", "Sampled=0"), None),
        (HEADER.replace("Sampled=1", "Sampled=?"), None),
        (HEADER.replace(";Sampled=1", ""), None),
        (HEADER.replace("Parent=53995c3f42cd8ad8;", ""), None),
        ("Root=1;Parent=2;Sampled=1", None),
        ("anything", None),
        ("", None),
    ],
)
def test_only_a_recorded_trace_is_linked_to_in_whatever_order_its_header_is(
    monkeypatch: pytest.MonkeyPatch, header: str, trace: str | None
) -> None:
    monkeypatch.setenv("HEATLENS_TRACING", "true")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", header)

    assert current_trace() == trace


@pytest.mark.parametrize(
    ("status", "flags"),
    [(200, set()), (404, {"error"}), (429, {"error", "throttle"}), (503, {"fault"}), (None, {"fault"})],
)
def test_a_section_is_marked_by_the_status_of_its_response(recorder: Any, status: int | None, flags: set[str]) -> None:  # noqa: ANN401
    tracing = Tracing(recorder)
    with tracing.section("request"):
        tracing.answer(status)

    section = ended(recorder)
    assert {name for name in ("error", "throttle", "fault") if section.get(name)} == flags


PROGRAM = """
import os, sys
from heatlens_aws.tracing import open_tracing
for header in sys.argv[2:]:
    os.environ["_X_AMZN_TRACE_ID"] = header
    tracing = open_tracing()
    with tracing.section("files", link=sys.argv[1], batch="01J0", items="0,2"):
        with tracing.section("inner"):
            tracing.annotate(route="/x")
"""


def sent_to_the_daemon(*headers: str) -> list[Any]:
    """The documents that X-Ray's library sends as on Lambda, read at a socket in place of the daemon."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(0)
        environment = os.environ | {
            "AWS_XRAY_DAEMON_ADDRESS": f"127.0.0.1:{daemon.getsockname()[1]}",
            "LAMBDA_TASK_ROOT": "/var/task",
            "AWS_LAMBDA_FUNCTION_NAME": "worker",
            "HEATLENS_TRACING": "true",
        }
        subprocess.run([sys.executable, "-c", PROGRAM, TRACE, *headers], cwd=ROOT, env=environment, check=True)
        found = []
        with suppress(BlockingIOError):
            while True:
                head, _, body = daemon.recv(65_535).partition(b"\n")
                assert json.loads(head) == {"format": "json", "version": 1}
                found.append(json.loads(body))
        return found


def test_the_documents_on_lambda_follow_the_rules_of_x_ray() -> None:
    """https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html, of independent subsegments."""
    inner, files = sent_to_the_daemon(HEADER, HEADER.replace("2793;", "2794;").replace("Sampled=1", "Sampled=0"), "x")

    for document in (inner, files):
        assert re.fullmatch(r"[0-9a-f]{16}", document["id"])
        assert document["trace_id"] == TRACE.partition(":")[0]
        assert document["type"] == "subsegment"
        assert re.fullmatch(r"[\w .:/%&#=+\\\-@]{1,200}", document["name"])
        assert 0 < document["start_time"] <= document["end_time"]
        assert document["in_progress"] is False
        for name, value in document.get("annotations", {}).items():
            assert re.fullmatch(r"\w+", name, re.ASCII)
            assert isinstance(value, str | int)
            assert len(str(value)) <= 1000
    assert files["parent_id"] == TRACE.partition(":")[2]
    assert inner["parent_id"] == files["id"]
    assert files["links"] == [{"trace_id": TRACE.partition(":")[0], "id": TRACE.partition(":")[2]}]
    assert inner["annotations"] == {"route": "/x"}


def test_without_tracing_the_library_is_not_imported() -> None:
    program = "import heatlens_aws.tracing as t, sys; t.open_tracing(); print('aws_xray_sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False"]


def test_nothing_is_sent_without_tracing() -> None:
    with open_tracing().section("batch", batch="01J0"):
        open_tracing().annotate(route="/x")
