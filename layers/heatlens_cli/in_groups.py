"""Run images in groups: while one group runs, the next is read, and the results of the last are used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

from heatlens.batching import count_pixels, try_together
from heatlens.errors import HeatlensError
from heatlens.types import Upload

Item = TypeVar("Item")
Result = TypeVar("Result")
Outcomes = Sequence[Result | HeatlensError]
Loaded = Upload | HeatlensError | OSError

IMAGES = 8
PIXELS = 100_000_000  # of all images of a group together; a single image may have more


def run_in_groups(
    items: Iterable[Item],
    read: Callable[[Item], Upload],
    run: Callable[[Sequence[Upload]], Outcomes[Result]],
    *,
    images: int = IMAGES,
) -> Iterator[tuple[Item, Result | HeatlensError | OSError]]:
    """Yield the result of each item, in their order.

    Items are read in this thread, where an interruption ends the wait for a pipe. Groups of one run in this thread too,
    because the Lambda handler needs its event loop.

    Args:
        items: What is read.
        read: Reads an item; a `HeatlensError` or `OSError` becomes its result.
        run: Answers a group with one result for each image.
        images: The largest group.
    """
    groups = _groups(((item, _read(read, item)) for item in items), images)
    if images == 1:
        for group in groups:
            yield from _results(group, _run(run, group))
        return
    with ThreadPoolExecutor(1, "group") as executor:
        yield from _run_ahead(groups, run, executor)


def _run_ahead(
    groups: Iterable[list[tuple[Item, Loaded]]], run: Callable[[Sequence[Upload]], Outcomes[Result]], executor: Executor
) -> Iterator[tuple[Item, Result | HeatlensError | OSError]]:
    running: deque[tuple[list[tuple[Item, Loaded]], Future[Outcomes[Result]]]] = deque()
    for group in groups:
        running.append((group, executor.submit(_run, run, group)))
        if len(running) > 1:
            done, future = running.popleft()
            yield from _results(done, future.result())
    for group, future in running:
        yield from _results(group, future.result())


def _read(read: Callable[[Item], Upload], item: Item) -> Loaded:
    try:
        return read(item)
    except (HeatlensError, OSError) as error:
        return error


def _groups(loaded: Iterable[tuple[Item, Loaded]], images: int) -> Iterator[list[tuple[Item, Loaded]]]:
    group: list[tuple[Item, Loaded]] = []
    total = 0
    for item, upload in loaded:
        pixels = count_pixels(upload, PIXELS) if isinstance(upload, Upload) else 0
        if group and (len(group) == images or total + pixels > PIXELS):
            yield group
            group, total = [], 0
        group.append((item, upload))
        total += pixels
    if group:
        yield group


def _run(run: Callable[[Sequence[Upload]], Outcomes[Result]], group: Sequence[tuple[Item, Loaded]]) -> Outcomes[Result]:
    """Run a group; where it fails as a whole, such as for want of memory, each image alone."""
    uploads = [upload for _, upload in group if isinstance(upload, Upload)]
    answers: Callable[[Sequence[Upload]], Sequence[Result | HeatlensError]] = run
    return [_or_raise(each) for each in try_together(answers, uploads, retry_alone=_is_known)] if uploads else []


def _is_known(error: Exception) -> bool:
    return isinstance(error, HeatlensError)


def _or_raise(outcome: Result | Exception) -> Result | HeatlensError:
    if isinstance(outcome, Exception) and not isinstance(outcome, HeatlensError):
        raise outcome
    return outcome


def _results(
    group: Sequence[tuple[Item, Loaded]], outcomes: Outcomes[Result]
) -> Iterator[tuple[Item, Result | HeatlensError | OSError]]:
    left = iter(outcomes)
    for item, upload in group:
        yield item, next(left) if isinstance(upload, Upload) else upload
