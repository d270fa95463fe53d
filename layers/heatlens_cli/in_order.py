"""Process items in several threads, and yield their results in the order of the items."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Job = Callable[[], Result]


def run_in_order(
    items: Iterable[Item], prepare: Callable[[Item], Job[Result]], threads: int
) -> Iterator[tuple[Item, Future[Result]]]:
    """Prepare each item in this thread, run the job in another, and yield the results in order.

    At most `threads` + 1 results wait in memory. With one thread the jobs run in this one, because the Lambda handler
    needs its event loop.

    Args:
        items: What is processed.
        prepare: Reads an item and returns its job; an exception becomes the result.
        threads: Jobs that run at a time.
    """
    if threads == 1:
        yield from ((item, _run(prepare, item)) for item in items)
        return
    with ThreadPoolExecutor(threads) as executor:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            waiting.append((item, _submit(executor, prepare, item)))
            if len(waiting) > threads:
                yield waiting.popleft()
        yield from waiting


def _submit(executor: ThreadPoolExecutor, prepare: Callable[[Item], Job[Result]], item: Item) -> Future[Result]:
    try:
        job = prepare(item)
    except Exception as error:
        failed: Future[Result] = Future()
        failed.set_exception(error)
        return failed
    return executor.submit(job)


def _run(prepare: Callable[[Item], Job[Result]], item: Item) -> Future[Result]:
    done: Future[Result] = Future()
    try:
        done.set_result(prepare(item)())
    except Exception as error:
        done.set_exception(error)
    return done
