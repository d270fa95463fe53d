"""The log of the plain server and of the endpoint: JSON or text on standard error."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from heatlens.types import LogFormat, LogLevel
from heatlens_aws.error_summary import private_traceback
from heatlens_web.request_id import current_request_id

# At every level these stay silent below a warning: what they log has addresses, signatures and bodies.
OURS = ("heatlens", "heatlens_web", "heatlens_aws", "heatlens_cli", "functions")


class PrivateFormatter(logging.Formatter):
    """Write an exception by kind and place: its message may hold what a client sent."""

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 - logging's own
        """Return the lines of the traceback, without messages."""
        return private_traceback(ei[1])


class JsonFormatter(PrivateFormatter):
    """Write a record as one line of JSON, with the id of the request that it belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "level": record.levelname,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "location": f"{record.name}:{record.funcName}:{record.lineno}",
            "message": record.getMessage(),
        }
        line |= {"request_id": request_id} if (request_id := current_request_id()) else {}
        line |= getattr(record, "access", {})
        if record.exc_info and record.exc_info[1]:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, separators=(",", ":"), default=str)


class TextFormatter(PrivateFormatter):
    """Write a record as a line to read: time, level, message, and the facts of a request."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        text = f"{at:%H:%M:%S} {record.levelname:<7} {record.getMessage()}"
        facts = getattr(record, "access", {})
        shown = ("bytes_in", "bytes_out", "model", "engine", "batch", "items", "request_id")
        text += "".join(f" {name}={facts[name]}" for name in shown if name in facts)
        if record.exc_info and record.exc_info[1]:
            text += "\n" + self.formatException(record.exc_info)
        return text


def configure_server_logs(form: LogFormat, level: LogLevel) -> None:
    """Write the records of all packages to standard error; libraries are heard from a warning on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
