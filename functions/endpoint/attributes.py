"""Read options from SageMaker's custom attributes, which other programs write too."""

import logging
import re
import time
from difflib import get_close_matches
from urllib.parse import parse_qsl

from heatlens_web import problems
from heatlens_web.rate_limited_log import RateLimitedLog
from heatlens_web.schemas.options import HeatmapOptions
from heatlens_web.text_options import read_text_options

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
PLACE = ("header", CUSTOM_ATTRIBUTES)

_NAMES = re.compile(r"[\w-]+(?=[\s\"']*[=:])")
_NEAR = 0.8  # of difflib: colourmap is near colormap, TensorFlow Serving's tfs-method is not near method
_ignored = RateLimitedLog(
    logging.getLogger(__name__), "custom attributes that name no option are ignored", level=logging.WARNING
)


def read_attributes(text: str) -> HeatmapOptions:
    """Read options from custom attributes, which are written as a query string.

    Text that names no option, not even nearly, is another program's, such as the id of a trace: it is ignored.

    Raises:
        InvalidRequest: They name an option and are not a query string, a name is not that of an option, or a value is
            invalid.
    """
    if not text:
        return HeatmapOptions()
    if not names_option(text):
        _ignored.record(time.monotonic())
        return HeatmapOptions()
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        wrong = {"loc": [*PLACE], "msg": "not a query string such as colormap=hot&alpha=0.5", "type": "query"}
        raise problems.invalid([wrong]) from error
    return read_text_options(HeatmapOptions, pairs, place=PLACE)


def names_option(text: str) -> bool:
    """Whether a text has a name before a `=` or `:` that is that of an option, or a misspelled one."""
    names = [name.lower().replace("-", "_") for name in _NAMES.findall(text)]
    return any(get_close_matches(name, HeatmapOptions.model_fields, n=1, cutoff=_NEAR) for name in names)
