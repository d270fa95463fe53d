"""Open in Lambda's init phase what a function keeps while it is warm, or exit with one line that says why.

With an exception instead, the runtime would log the reason between a traceback and a warning.
"""

import logging
import os
import sys
from collections.abc import Callable
from typing import TypeVar

from heatlens.errors import ModelError

logger = logging.getLogger(__name__)

Kept = TypeVar("Kept")


def is_lambda() -> bool:
    """Return whether this process is a function on AWS Lambda, or of its emulator."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def start(open_all: Callable[[], Kept]) -> Kept:
    """Open what a function works with.

    Raises:
        SystemExit: It cannot be opened. The event is delivered again, and the next process tries again.
    """
    try:
        return open_all()
    except ModelError as error:
        cause = " ".join(repr(error.__cause__).split())  # a validation error's has lines
        logger.error("the function cannot start: %s%s", error, f" ({cause})" if error.__cause__ else "")
        sys.exit(1)
