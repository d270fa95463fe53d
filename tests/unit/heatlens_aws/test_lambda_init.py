import logging

import pytest

from heatlens.errors import ModelError
from heatlens_aws.lambda_init import start


def test_start_returns_what_was_opened() -> None:
    assert start(lambda: "clients") == "clients"


def test_a_function_that_cannot_start_ends_with_one_line_and_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ModelError("no bucket") from ValueError("two\nlines")

    with caplog.at_level(logging.ERROR), pytest.raises(SystemExit) as ended:
        start(fail)

    assert ended.value.code == 1
    assert caplog.messages == [r"the function cannot start: no bucket (ValueError('two\nlines'))"]


def test_a_defect_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        start(lambda: 1 / 0)
