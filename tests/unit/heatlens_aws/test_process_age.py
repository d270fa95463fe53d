from pathlib import Path

import pytest

from heatlens_aws import process_age


def test_the_age_of_a_process_grows() -> None:
    first = process_age.process_age_ms()

    assert 0 < first <= process_age.process_age_ms()


def test_without_proc_the_time_of_the_processor_stands_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_age, "_STAT", Path("/nowhere"))

    assert process_age.process_age_ms() > 0
