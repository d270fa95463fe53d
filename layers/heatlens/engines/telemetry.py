"""Import engines and tools without their usage statistics, which look up a host and write an id into HOME."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

REPORTER = "openvino_telemetry"  # of OpenVINO and NNCF, which use stubs of their own without it
# Read by ONNX Runtime, NNCF and the Hugging Face Hub when they are imported, here or by a user's own functions.
SWITCHES = {"ORT_DISABLE_TELEMETRY": "1", "NNCF_CI": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Switch usage statistics off for what is imported in the block, as far as there are switches also afterwards."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    before = sys.modules.get(REPORTER)
    sys.modules[REPORTER] = None  # type: ignore[assignment]  # importing it raises ImportError
    try:
        yield
    finally:
        del sys.modules[REPORTER]
        if before is not None:
            sys.modules[REPORTER] = before
