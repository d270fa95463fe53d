"""Import and call the functions that a model description names (`package.module:function`)."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heatlens.errors import ModelError, ModelFileError


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Make modules in the folder of the model description importable."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def find(where: str, reference: str) -> Callable[..., Any]:
    """Import `package.module:function`.

    Args:
        where: The key of the description that holds `reference`, for the message.
        reference: Module path, colon, name of a callable in it.

    Raises:
        ModelFileError: There is no such module or callable.
    """
    module, _, name = reference.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelFileError(f"{where}: {reference!r} cannot be imported as package.module:function") from error
    if not callable(function):
        raise ModelFileError(f"{where}: {reference!r} is not a function")
    return function  # type: ignore[no-any-return]  # callable() narrows to an anonymous type


def call(where: str, reference: str, *args: object, **kwargs: object) -> object:
    """Import and call a function of the description, and return its result.

    Raises:
        ModelFileError: It cannot be imported, or raises; its exception is the cause. Errors of Heatlens pass unchanged.
    """
    function = find(where, reference)
    try:
        return function(*args, **kwargs)
    except ModelError:
        raise
    except Exception as error:
        raise ModelFileError(f"{where}: {reference!r} failed with {type(error).__name__}") from error
