"""Batches, deadlines and failures without a model: how often a batch runs, and which image has which error."""

import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar

import pytest

from heatlens.batching import (
    Job,
    check_request_pixels,
    count_pixels,
    each,
    in_batches,
    shared_timer,
    together,
    try_together,
)
from heatlens.errors import (
    EmptyFile,
    GenerationFailed,
    HeatlensError,
    ImageTooLarge,
    OutOfMemory,
    OutOfTime,
    RequestImagesTooLarge,
    UnreadableImage,
    UnsupportedImage,
)
from heatlens.settings import LIMITS
from heatlens.types import Upload
from tests.support.images import encoded, noise


class Engine:
    """Doubles numbers; fails a batch that holds one of `broken`, with `error`."""

    def __init__(self, broken: Sequence[int] = (), error: type[Exception] = RuntimeError) -> None:
        self.batches: list[list[int]] = []
        self._broken, self._error = broken, error

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        if any(number in self._broken for number in numbers):
            raise self._error(f"cannot double {numbers}")
        return [2 * number for number in numbers]


def always(_error: Exception) -> bool:
    return True


def never(_error: Exception) -> bool:
    return False


def test_a_batch_that_succeeds_runs_once() -> None:
    engine = Engine()

    assert try_together(engine, [1, 2, 3], retry_alone=always) == [2, 4, 6]
    assert engine.batches == [[1, 2, 3]]


def test_each_item_of_a_failed_batch_runs_once_more_alone() -> None:
    engine = Engine(broken=[2])

    first, second, third = try_together(engine, [1, 2, 3], retry_alone=always)

    assert (first, third) == (2, 6)
    assert str(second) == "cannot double [2]"
    assert engine.batches == [[1, 2, 3], [1], [2], [3]]


def test_an_item_that_failed_alone_is_not_tried_again() -> None:
    engine = Engine(broken=[1])

    [error] = try_together(engine, [1], retry_alone=always)

    assert isinstance(error, RuntimeError)
    assert engine.batches == [[1]]


def test_an_error_that_is_not_worth_a_retry_is_that_of_every_item() -> None:
    engine = Engine(broken=[2])

    results = try_together(engine, [1, 2], retry_alone=never)

    assert [str(result) for result in results] == ["cannot double [1, 2]"] * 2
    assert engine.batches == [[1, 2]]


def test_only_items_whose_own_result_is_an_error_run_alone() -> None:
    batches: list[list[int]] = []

    def run(numbers: Sequence[int]) -> list[int | HeatlensError]:
        batches.append(list(numbers))
        return [UnreadableImage("with others") if number == 2 and len(numbers) > 1 else number for number in numbers]

    assert try_together(run, [1, 2, 3], retry_alone=always) == [1, 2, 3]
    assert batches == [[1, 2, 3], [2]]


def test_together_gives_only_the_items_without_an_error_to_the_stage() -> None:
    engine, refused = Engine(), EmptyFile("empty")
    items: list[int | HeatlensError] = [1, refused, 3]

    assert together(items, engine, failure="no") == [2, refused, 6]
    assert engine.batches == [[1, 3]]


def test_together_does_not_run_a_stage_without_items() -> None:
    engine, refused = Engine(), EmptyFile("empty")

    assert together([refused, refused], engine, failure="no") == [refused, refused]
    assert engine.batches == []


@pytest.mark.parametrize("error", [RuntimeError, UnreadableImage])
def test_together_hides_the_cause_of_an_item_that_fails_alone(error: type[Exception]) -> None:
    engine = Engine(broken=[2], error=error)

    first, second = together([1, 2], engine, failure="the heatmap could not be generated")

    assert first == 2
    assert isinstance(second, GenerationFailed)
    assert str(second) == "the heatmap could not be generated"
    assert engine.batches == [[1, 2], [1], [2]]


class AllocationFailed(RuntimeError):
    """An engine's own error."""

    def __str__(self) -> str:
        return "Failed to allocate 331776 bytes of memory"


@pytest.mark.parametrize("error", [MemoryError, AllocationFailed])
def test_together_raises_that_memory_ran_out_and_does_not_retry(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(broken=[2], error=error)

    with pytest.raises(OutOfMemory) as caught:
        together([1, 2], engine, failure="no")

    assert isinstance(caught.value.__cause__, MemoryError)
    assert engine.batches == [[1, 2]]
    assert [record.message for record in caplog.records] == ["out of memory"]


def test_an_image_for_which_memory_runs_out_fails_alone_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def stage(number: int) -> int:
        if number == 2:
            raise MemoryError
        return number

    first, second = each([1, 2], stage)

    assert (first, type(second)) == (1, OutOfMemory)
    assert isinstance(second, OutOfMemory)
    assert isinstance(second.__cause__, MemoryError)
    assert second.retryable
    assert caplog.records[0].exc_info


def test_each_keeps_an_error_in_its_place_and_logs_what_is_unexpected(caplog: pytest.LogCaptureFixture) -> None:
    def stage(number: int) -> int:
        if number == 2:
            raise UnreadableImage("two")
        return 10 // number

    items: list[int | HeatlensError] = [1, 2, EmptyFile("empty"), 0]

    first, second, third, fourth = each(items, stage)

    assert first == 10
    assert isinstance(second, UnreadableImage)
    assert isinstance(third, EmptyFile)
    assert isinstance(fourth, GenerationFailed)
    assert "ZeroDivisionError" in caplog.text
    assert "division" not in str(fourth)


def test_images_of_a_stage_run_at_the_same_time_in_the_callers_context() -> None:
    both, user = threading.Barrier(2, timeout=30), ContextVar("user", default="nobody")
    user.set("somebody")

    def stage(number: int) -> tuple[int, str]:
        both.wait()
        return 2 * number, user.get()

    refused = EmptyFile("empty")
    items: list[int | HeatlensError] = [1, refused, 2]

    assert each(items, stage, threads=2) == [(2, "somebody"), refused, (4, "somebody")]


def test_no_more_images_run_at_a_time_than_threads() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def stage(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        if number == 5:
            raise EmptyFile("empty")
        return number

    outcomes = each(range(9), stage, threads=3)

    assert most <= 3
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [0, 1, 2, 3, 4, 6, 7, 8]
    assert isinstance(outcomes[5], EmptyFile)


def test_jobs_share_the_time_of_a_stage_that_they_run_together(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 3.0, 3.0, 4.0])
    monkeypatch.setattr("heatlens.batching.time", type("Clock", (), {"perf_counter": lambda: next(ticks)}))
    jobs = [Job(Upload(name, b""), {"decode": 1.0}) for name in ("a", "b")]

    with shared_timer(jobs) as timed:
        for _ in range(2):
            with timed("tail"):
                pass

    assert [job.timings_ms for job in jobs] == [{"decode": 1.0, "tail": 2000.0}] * 2


def test_a_stage_that_runs_inside_another_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 3.0, 4.0, 6.0, 7.0])
    monkeypatch.setattr("heatlens.batching.time", type("Clock", (), {"perf_counter": lambda: next(ticks)}))
    job = Job(Upload("a", b""), {"colour": 5.0})

    with job.timed("encode"):
        for _ in range(2):
            with job.timed("colour"):
                pass

    assert job.timings_ms == {"encode": 3000.0, "colour": 4005.0}


def batches_of(
    time_left: Callable[[], float] | None, *uploads: Upload | HeatlensError
) -> tuple[list[list[str]], list[str | HeatlensError]]:
    batches: list[list[str]] = []

    def run(batch: Sequence[Upload | HeatlensError]) -> list[str | HeatlensError]:
        batches.append([item.filename for item in batch if isinstance(item, Upload)])
        return [item if isinstance(item, HeatlensError) else item.filename for item in batch]

    return batches, in_batches(uploads, run, batch_images=2, time_left=time_left)


def test_uploads_are_run_in_batches_of_the_given_size() -> None:
    uploads = [Upload(name, b"") for name in "abcde"]

    batches, outcomes = batches_of(None, *uploads)

    assert batches == [["a", "b"], ["c", "d"], ["e"]]
    assert outcomes == ["a", "b", "c", "d", "e"]


def test_batches_after_the_deadline_are_not_begun() -> None:
    left, refused = iter([1.0, -1.0]), EmptyFile("empty")

    batches, outcomes = batches_of(lambda: next(left), *[Upload(name, b"") for name in "abc"], refused)

    assert batches == [["a", "b"]]
    assert outcomes[:2] == ["a", "b"]
    assert isinstance(outcomes[2], OutOfTime)
    assert outcomes[3] is refused


def test_an_image_that_cannot_be_measured_is_not_decoded_and_does_not_count() -> None:
    small = Upload("small.png", encoded(noise((10, 10))))
    limits = LIMITS.model_copy(update={"image_pixels": 150, "request_pixels": 200})

    small_again, unread, not_an_image, large = check_request_pixels(
        [small, EmptyFile("empty"), Upload("x", b"not an image"), Upload("large.png", encoded(noise((20, 20))))], limits
    )

    assert small_again is small
    assert [type(error) for error in (unread, not_an_image, large)] == [EmptyFile, UnsupportedImage, ImageTooLarge]
    check_request_pixels([small, small], limits)
    with pytest.raises(RequestImagesTooLarge, match="send fewer or smaller ones at a time"):
        check_request_pixels([small, small, small], limits)


def test_counting_pixels_gives_the_limit_where_they_are_unknown() -> None:
    assert count_pixels(Upload("", encoded(noise((10, 10)))), 150) == 100
    assert count_pixels(Upload("", encoded(noise((10, 10)))), 99) == 99
    assert count_pixels(Upload("", b"not an image"), 150) == 150
    assert count_pixels(EmptyFile("empty"), 150) == 0
