import threading
from collections.abc import Callable

import pytest

from heatlens_cli.in_order import run_in_order


def times_ten(item: int) -> Callable[[], int]:
    return lambda: item * 10


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_are_in_the_order_of_the_items(threads: int) -> None:
    found = list(run_in_order(range(9), times_ten, threads))

    assert [(item, result.result()) for item, result in found] == [(item, item * 10) for item in range(9)]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_preparation_or_job_is_the_items_own(threads: int) -> None:
    def prepare(item: int) -> Callable[[], float]:
        if item == 1:
            raise ValueError("unreadable")
        return lambda: 1 / item

    outcomes = [result.exception() for _, result in run_in_order([0, 1, 2], prepare, threads)]

    assert [type(error) for error in outcomes] == [ZeroDivisionError, ValueError, type(None)]


def test_jobs_run_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=30)

    results = [result.result() for _, result in run_in_order(range(2), lambda _: both.wait, 2)]

    assert sorted(results) == [0, 1]


def test_few_results_wait_in_memory() -> None:
    prepared: list[int] = []

    def prepare(item: int) -> Callable[[], int]:
        prepared.append(item)
        return lambda: item

    for item, _ in run_in_order(range(20), prepare, 3):
        assert len(prepared) <= item + 4
