"""The network's own code, which may raise what it likes: a forward pass -> its answer, or one sentence."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from heatlens.errors import CompileError, ModelError


@contextmanager
def running(shape: Sequence[int]) -> Iterator[None]:
    """Say that the network does not run on images of `shape` `[B,3,H,W]`, whatever it raises; that is the cause.

    Raises:
        CompileError: Something was raised. Errors of Heatlens pass.
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
