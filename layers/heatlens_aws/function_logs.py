"""The log of a function on AWS Lambda: one JSON object a line, without the messages of exceptions."""

import logging
import sys
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.filters import SuppressFilter
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

from heatlens_aws.error_summary import private_traceback

# Libraries are heard from a warning on: at lower levels they log addresses, signatures and bodies.
OURS = ("heatlens", "heatlens_web", "heatlens_aws", "functions")


class PrivateFormatter(LambdaPowertoolsFormatter):
    """Powertools' format; an exception is written by kind and place, and a request's facts beside the other keys."""

    def __init__(self) -> None:
        super().__init__(utc=True, use_rfc3339=True, serialize_stacktrace=False)

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 - logging's own
        """Return the lines of the traceback, without messages."""
        return private_traceback(ei[1])

    def serialize(self, log: Any) -> str:  # noqa: ANN401 - Powertools' own annotation is wrong
        """Return the line."""
        facts = log.pop("access", {})
        return super().serialize(log | facts)


def make_logger(service: str) -> Logger:
    """Return the logger of a function."""
    return Logger(service=service, logger_formatter=PrivateFormatter())


def share_format(logger: Logger) -> None:
    """Write the packages' own records as the function's: with its format and its keys."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logger.registered_formatter)
    handler.addFilter(SuppressFilter(logger.service))  # it has a handler of its own
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
