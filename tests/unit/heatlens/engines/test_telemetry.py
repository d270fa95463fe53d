"""The reporter of usage statistics is hidden from one import, and not from the rest of the process."""

import sys
from types import ModuleType

import pytest

from heatlens.engines.telemetry import REPORTER, without_telemetry


@pytest.mark.parametrize("before", [None, ModuleType(REPORTER)])
def test_the_reporter_is_absent_within_the_block_only(
    before: ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, REPORTER, raising=False)
    if before:
        monkeypatch.setitem(sys.modules, REPORTER, before)

    with pytest.raises(ImportError), without_telemetry():
        __import__(REPORTER)

    assert sys.modules.get(REPORTER) is before
