import json
import logging
from collections.abc import Iterator

import pytest

from heatlens_aws.function_logs import OURS, make_logger, share_format


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, levels = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in OURS}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def test_the_records_of_the_packages_are_written_once_with_the_keys_of_the_function(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = make_logger("some-function")
    share_format(logger)
    logger.append_keys(function_request_id="1-2")

    logging.getLogger("heatlens_web.problems").info("hello", extra={"access": {"route": "/x"}})
    logging.getLogger("botocore.auth").info("Signature=secret")
    logger.info("own")

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["message"], line["function_request_id"]) for line in lines] == [("hello", "1-2"), ("own", "1-2")]
    assert lines[0]["route"] == "/x"
    assert lines[1]["service"] == "some-function"


def test_an_exception_is_logged_without_messages_of_it_or_of_its_causes(capsys: pytest.CaptureFixture[str]) -> None:
    share_format(make_logger("other-function"))
    try:
        try:
            raise KeyError("Doe^Jane")
        except KeyError as error:
            raise ValueError("Doe^Jane.dcm") from error
    except ValueError:
        logging.getLogger("heatlens").exception("failed")

    line = json.loads(capsys.readouterr().out)
    assert line["exception_name"] == "ValueError"
    assert "KeyError" in line["exception"]
    assert "Doe" not in json.dumps(line)
