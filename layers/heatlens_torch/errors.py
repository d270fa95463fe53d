"""Turn what a network or torch raises into one sentence that says what works instead."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from heatlens.errors import CompileError, ModelError

INSTEAD = 'in Python heatlens_torch.uncompiled.explain("model.toml", images) explains it without compiling'
_OPERATOR = re.compile(r"\b(?:aten|prims|torchvision|higher_order)(?:::|\.)(\w+)")


def reason(error: BaseException) -> str:
    """Name the operator if any error of the chain names one, else the kind of error, and say what works instead."""
    cause: BaseException | None = error
    while cause is not None:
        operator = _OPERATOR.search(str(cause))
        if operator:
            return f"operator {operator[1]} has no conversion; {INSTEAD}"
        cause = cause.__cause__
    return f"{type(error).__name__}; {INSTEAD}"


@contextmanager
def running(shape: Sequence[int]) -> Iterator[None]:
    """Turn whatever the network raises on images of `shape` `[B,3,H,W]` into a `CompileError`.

    Raises:
        CompileError: The network raised; its error is the cause. Errors of Heatlens pass unchanged.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise CompileError(
            f"the network does not run on an image batch of shape {tuple(shape)}: it raises {type(error).__name__}; "
            "is it made for several images at once, three channels and the size that `preprocess` says?"
        ) from error
