"""Import OpenVINO without its converter of other frameworks' models, which loads 119 modules that no engine uses."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

CONVERTER = "openvino.tools.ovc"
CONVERT = "convert_model"  # what `openvino` takes from it


@contextmanager
def without_converter() -> Iterator[None]:
    """Leave the converter out of the first import of `openvino`; a later use imports it.

    `openvino` itself goes on without its converter where that is not installed, as in the container image.
    """
    if "openvino" in sys.modules or CONVERTER in sys.modules:
        yield
        return
    sys.modules[CONVERTER] = None  # type: ignore[assignment]  # importing it raises ImportError
    try:
        yield
    finally:
        del sys.modules[CONVERTER]
    if openvino := sys.modules.get("openvino"):
        openvino.__getattr__ = _find_converter  # type: ignore[method-assign]  # as a module's own, see PEP 562


def _find_converter(name: str) -> Any:  # noqa: ANN401 - a function
    if name != CONVERT:
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    try:
        return getattr(import_module(CONVERTER), CONVERT)
    except ImportError as error:
        raise AttributeError(f"module 'openvino' has no attribute {name!r}: {error}") from error
