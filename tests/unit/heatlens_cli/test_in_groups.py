import threading
from collections.abc import Sequence

import pytest

from heatlens.errors import HeatlensError, UnreadableImage
from heatlens.types import Upload
from heatlens_cli import in_groups
from heatlens_cli.in_groups import run_in_groups
from tests.support.images import encoded, noise

SMALL = encoded(noise((10, 10)))  # the pixels of what is no image are not known: it would be a group of its own


def read(item: int) -> Upload:
    if item == 1:
        raise PermissionError("not yours")
    return Upload(str(item), SMALL)


def names(uploads: Sequence[Upload]) -> list[str | HeatlensError]:
    return [UnreadableImage("no image") if upload.filename == "3" else upload.filename for upload in uploads]


@pytest.mark.parametrize("images", [1, 2, 4, 20])
def test_each_item_has_its_own_result_in_order(images: int) -> None:
    found = list(run_in_groups(range(9), read, names, images=images))

    assert [item for item, _ in found] == list(range(9))
    assert [result for item, result in found if item not in (1, 3)] == ["0", "2", "4", "5", "6", "7", "8"]
    assert isinstance(found[1][1], PermissionError)
    assert isinstance(found[3][1], UnreadableImage)


def test_groups_are_bounded_by_images_and_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    large = encoded(noise((30, 10)))
    monkeypatch.setattr(in_groups, "PIXELS", 450)
    items = [SMALL, SMALL, SMALL, SMALL, large, large, SMALL]

    def run(group: Sequence[Upload]) -> list[str | HeatlensError]:
        sizes.append(len(group))
        return names(group)

    list(run_in_groups(items, lambda data: Upload("", data), run, images=3))

    assert sizes == [3, 2, 2]


def test_a_group_that_fails_as_a_whole_is_run_one_by_one() -> None:
    def run(uploads: Sequence[Upload]) -> list[str | HeatlensError]:
        if len(uploads) > 1:
            raise HeatlensError("out of memory")
        return names(uploads)

    found = dict(run_in_groups(range(4), read, run))

    assert (found[0], found[2]) == ("0", "2")
    assert isinstance(found[3], UnreadableImage)


def test_an_unexpected_error_ends_the_run_without_another_try() -> None:
    sizes: list[int] = []

    def run(uploads: Sequence[Upload]) -> list[str]:
        sizes.append(len(uploads))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(run_in_groups([0, 2], read, run))

    assert sizes == [2]


def test_the_next_group_is_read_while_one_runs() -> None:
    reading = threading.Event()

    def read_item(item: int) -> Upload:
        if item == 2:
            reading.set()
        return Upload(str(item), SMALL)

    def run(uploads: Sequence[Upload]) -> list[str]:
        assert reading.wait(30)
        return [upload.filename for upload in uploads]

    found = run_in_groups(range(4), read_item, run, images=2)

    assert [result for _, result in found] == ["0", "1", "2", "3"]


def test_few_items_are_read_ahead() -> None:
    taken: list[int] = []

    def read_item(item: int) -> Upload:
        taken.append(item)
        return Upload(str(item), SMALL)

    for item, _ in run_in_groups(range(20), read_item, names, images=3):
        assert len(taken) <= item + 6 + 1


@pytest.mark.parametrize(("images", "here"), [(1, {True}), (2, {False})])
def test_groups_of_one_run_in_the_callers_thread(images: int, here: set[bool]) -> None:
    """The Lambda handler needs the event loop of that thread."""
    threads: list[int] = []

    def run(uploads: Sequence[Upload]) -> list[str | HeatlensError]:
        threads.append(threading.get_ident())
        return names(uploads)

    list(run_in_groups([0, 2], read, run, images=images))

    assert {thread == threading.get_ident() for thread in threads} == here
