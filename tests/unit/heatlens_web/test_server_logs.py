import json
import logging
import sys

import pytest

from heatlens_web.server_logs import JsonFormatter, TextFormatter, configure_server_logs


def record(message: str = "hello", **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("heatlens.x", logging.INFO, "", 7, message, None, None, "place")
    vars(made).update(fields)
    return made


def failed() -> logging.LogRecord:
    try:
        raise ValueError("Doe^Jane")
    except ValueError:
        return record(exc_info=sys.exc_info())


def test_json_has_the_facts_of_a_request_beside_the_message() -> None:
    line = json.loads(JsonFormatter().format(record(access={"route": "/x", "status": 200})))

    assert (line["message"], line["route"], line["status"], line["level"]) == ("hello", "/x", 200, "INFO")
    assert line["location"] == "heatlens.x:place:7"


def test_text_has_the_facts_on_the_same_line() -> None:
    assert (
        TextFormatter()
        .format(record(access={"bytes_in": 3, "model": "demo"}))
        .endswith("INFO    hello bytes_in=3 model=demo")
    )


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_an_exception_is_written_without_its_message(formatter: logging.Formatter) -> None:
    text = formatter.format(failed())

    assert "ValueError at failed" in text
    assert "Doe" not in text


def test_libraries_stay_silent_at_every_level(capsys: pytest.CaptureFixture[str]) -> None:
    root, ours = logging.getLogger(), logging.getLogger("heatlens")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    try:
        configure_server_logs("json", "debug")
        logging.getLogger("botocore.auth").info("Signature")
        ours.debug("ours")
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])

    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["ours"]
