"""Run the libraries that read and write DICOM without their messages, which quote a patient's values."""

import logging
import re
import warnings
from collections.abc import Callable
from typing import TypeVar

from heatlens.errors import HeatlensError, is_out_of_memory

Result = TypeVar("Result")

_LIBRARIES = ("pydicom", "pylibjpeg", "openjpeg", "jpeg_ls", "highdicom", "gdcm")
_SILENCED = ("ignore", None, Warning, re.compile(rf"({'|'.join(_LIBRARIES)})\b"), 0)  # a filter as `warnings` stores it
for _name in _LIBRARIES:
    logging.getLogger(_name).propagate = False


def without_details(work: Callable[[], Result], failure: Callable[[], HeatlensError]) -> Result:
    """Run `work`; raise an error of a library as `failure`, without its message.

    Raises:
        HeatlensError: Raised by `work`, or a `failure`.
        MemoryError: The memory ran out.
    """
    if _SILENCED not in warnings.filters:
        warnings.filterwarnings("ignore", module=_SILENCED[3].pattern)
    try:
        return work()
    except HeatlensError as error:
        kept: Exception = error
    except Exception as error:
        kept = MemoryError() if is_out_of_memory(error) else failure()
    raise kept
