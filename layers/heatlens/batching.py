"""Split a request into batches and keep its deadline. Keep each image's error and timings in the image's place."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from heatlens.errors import (
    GenerationFailed,
    HeatlensError,
    OutOfMemory,
    OutOfTime,
    RequestImagesTooLarge,
    is_out_of_memory,
)
from heatlens.explain.attribution import Attribution
from heatlens.input.decode import measure
from heatlens.settings import Limits
from heatlens.types import Floats, Picture, Upload

logger = logging.getLogger(__name__)

_UNEXPECTED = "the image could not be processed: the server's log has the cause"

TimeLeft = Callable[[], float]
Timer = Callable[[str], AbstractContextManager[None]]
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(slots=True)
class Job:
    """One image on its way through the stages; each stage adds what it made, and its time in milliseconds."""

    upload: Upload
    timings_ms: dict[str, float] = field(default_factory=dict)
    picture: Picture = field(init=False)
    tensor: Floats = field(init=False)
    attribution: Attribution = field(init=False)

    def timed(self, stage: str) -> AbstractContextManager[None]:
        """Add the time spent within to the stage's, without that of stages timed inside it."""
        return _timed(self.timings_ms, stage)


def in_batches(
    uploads: Sequence[Upload | HeatlensError],
    run_batch: Callable[[Sequence[Upload | HeatlensError]], Sequence[Made | HeatlensError]],
    *,
    batch_images: int,
    time_left: TimeLeft | None,
) -> list[Made | HeatlensError]:
    """Run one batch after the other, while the time left is enough for a batch as slow as the slowest so far.

    Args:
        uploads: Images, or why they could not be read.
        run_batch: Answers a batch with one outcome for each of its images, in order.
        batch_images: Images in a batch.
        time_left: Seconds until the answer is due; `None` means without end.

    Returns:
        One outcome per upload, in order; `OutOfTime` for the images of batches that were not begun.
    """
    outcomes: list[Made | HeatlensError] = []
    slowest = 0.0
    for start in range(0, len(uploads), batch_images):
        batch = uploads[start : start + batch_images]
        if time_left and time_left() < slowest:
            outcomes += [upload if isinstance(upload, HeatlensError) else out_of_time() for upload in batch]
            continue
        began = time.perf_counter()
        outcomes += run_batch(batch)
        slowest = max(slowest, time.perf_counter() - began)
    return outcomes


def each(
    items: Sequence[Item | HeatlensError], stage: Callable[[Item], Made], *, threads: int = 1
) -> list[Made | HeatlensError]:
    """Run a stage for each image alone; an image that fails is its error, here and at all later stages.

    An error that no stage raises on purpose is logged, and fails only its image.

    Args:
        items: What the stage before made of each image; errors are passed on.
        stage: Called with one image.
        threads: Images at a time.
    """
    ready = [item for item in items if not isinstance(item, HeatlensError)]
    if min(threads, len(ready)) < 2:
        return [item if isinstance(item, HeatlensError) else _attempt_one(stage, item) for item in items]
    # Threads of their own, which end with the stage: a slow image in a shared pool would stop those of others.
    with ThreadPoolExecutor(min(threads, len(ready)), "stage") as pool:
        made = iter([pool.submit(copy_context().run, _attempt_one, stage, item) for item in ready])
        return [item if isinstance(item, HeatlensError) else next(made).result() for item in items]


def together(
    items: Sequence[Item | HeatlensError], stage: Callable[[Sequence[Item]], Sequence[Made]], *, failure: str
) -> list[Made | HeatlensError]:
    """Run a stage for all images at once; where that fails, for each alone.

    Args:
        items: What the stage before made of each image; errors are passed on.
        stage: Answers any number of images with one result each.
        failure: The message of an image whose stage fails when it runs alone.

    Raises:
        OutOfMemory: The stage ran out of memory, which says nothing of these images: the caller may send fewer.
    """
    ready = [item for item in items if not isinstance(item, HeatlensError)]
    if not ready:
        return [item for item in items if isinstance(item, HeatlensError)]
    results = try_together(partial(_run_logged, stage), ready, retry_alone=_is_not_memory)
    outcomes = iter([_or_failure(result, failure) for result in results])
    return [item if isinstance(item, HeatlensError) else next(outcomes) for item in items]


def try_together(
    run: Callable[[Sequence[Item]], Sequence[Made]],
    items: Sequence[Item],
    *,
    retry_alone: Callable[[Exception], bool],
) -> list[Made | Exception]:
    """Run items as one batch, and run again alone each item whose failure may be that of its companions.

    Args:
        run: Answers a batch with one result per item, which may be an exception; or raises for all of them.
        items: One or more.
        retry_alone: Whether an item that failed with this exception in a batch is tried alone.

    Returns:
        For each item its result, or the exception that running it raised.
    """
    results = _attempt(run, items)
    if len(items) == 1:
        return results
    return [
        _attempt(run, [item])[0] if isinstance(result, Exception) and retry_alone(result) else result
        for item, result in zip(items, results, strict=True)
    ]


@contextmanager
def shared_timer(jobs: Sequence[Job]) -> Iterator[Timer]:
    """Time stages that all jobs run together; where they succeed, each job gets an equal share."""
    shared: dict[str, float] = {}
    yield lambda stage: _timed(shared, stage)
    for job in jobs:
        job.timings_ms |= {stage: ms / len(jobs) for stage, ms in shared.items()}


def check_request_pixels(uploads: Sequence[Upload | HeatlensError], limits: Limits) -> list[Upload | HeatlensError]:
    """Compare the pixels of all images with the limit of a request, without decoding one.

    Returns:
        The uploads; an image that cannot be measured is its error, so that none is decoded that was not counted.

    Raises:
        RequestImagesTooLarge: They have more.
    """
    measured = each(uploads, lambda upload: (upload, measure(upload.data, max_pixels=limits.image_pixels)))
    total = sum(item[1] for item in measured if not isinstance(item, HeatlensError))
    if total > limits.request_pixels:
        raise RequestImagesTooLarge(
            f"the images have {total / 1e6:.1f} megapixels together, over the limit of "
            f"{limits.request_pixels / 1e6:g} per request: send fewer or smaller ones at a time"
        )
    return [item if isinstance(item, HeatlensError) else item[0] for item in measured]


def count_pixels(upload: Upload | HeatlensError, max_pixels: int) -> int:
    """Count the pixels of an image: `max_pixels` where they cannot be counted or are more; of an error 0."""
    if isinstance(upload, HeatlensError):
        return 0
    try:
        return measure(upload.data, max_pixels=max_pixels)
    except HeatlensError:
        return max_pixels


def _attempt(run: Callable[[Sequence[Item]], Sequence[Made]], items: Sequence[Item]) -> list[Made | Exception]:
    try:
        return list(run(items))
    except Exception as error:
        return [error] * len(items)


def _attempt_one(stage: Callable[[Item], Made], item: Item) -> Made | HeatlensError:
    try:
        return stage(item)
    except HeatlensError as error:
        return error
    except MemoryError as error:
        return _out_of_memory(error)
    except Exception:
        logger.exception("an image failed unexpectedly")
        return GenerationFailed(_UNEXPECTED)


def _run_logged(stage: Callable[[Sequence[Item]], Sequence[Made]], items: Sequence[Item]) -> Sequence[Made]:
    try:
        return stage(items)
    except Exception as error:
        if is_out_of_memory(error):
            raise _out_of_memory(error)  # noqa: B904 - it has its cause
        logger.exception("inference of %d images failed", len(items))
        raise


def _is_not_memory(error: Exception) -> bool:
    return not isinstance(error, OutOfMemory)


def _or_failure(result: Made | Exception, failure: str) -> Made | HeatlensError:
    if isinstance(result, OutOfMemory):
        raise result
    return GenerationFailed(failure) if isinstance(result, Exception) else result


def _out_of_memory(cause: Exception) -> OutOfMemory:
    """Log that memory ran out, with the place, and make the client's error; its cause is always a `MemoryError`."""
    logger.error("out of memory", exc_info=cause)
    error = OutOfMemory()
    error.__cause__ = cause if isinstance(cause, MemoryError) else MemoryError(str(cause))
    return error


def out_of_time() -> OutOfTime:
    """Make the error of an image for which no time was left."""
    return OutOfTime("the time for this request was over before this image's turn: send fewer at a time")


@contextmanager
def _timed(timings_ms: dict[str, float], stage: str) -> Iterator[None]:
    within, start = sum(timings_ms.values()), time.perf_counter()
    yield
    within = sum(timings_ms.values()) - within  # of stages that ran inside this one
    timings_ms[stage] = timings_ms.get(stage, 0.0) + (time.perf_counter() - start) * 1000 - within
