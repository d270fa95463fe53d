"""The queue: every instance is in one state, whenever a process ends, and what ended is kept as a name."""

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from heatlens_cli.dicom import disk_queue
from heatlens_cli.dicom.disk_queue import DAMAGED, DONE, FAILED, RECEIVED, WAITING, DiskQueue, Entry, is_name
from heatlens_cli.dicom.failures import CannotWatch

DAY_S = 24 * 60 * 60


def entry(number: int = 1, **more: object) -> Entry:
    return Entry.model_validate({"study": "1", "series": "1.1", "instance": f"1.1.{number}", "queued": 1.0} | more)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> DiskQueue:
    made = DiskQueue(tmp_path, clock)
    with made.opened():
        pass
    return made


def states(folder: Path) -> dict[str, list[str]]:
    names = (WAITING, FAILED, DONE, RECEIVED)
    return {state: sorted(path.name for path in (folder / state).iterdir()) for state in names}


def test_an_instance_waits_once(queue: DiskQueue, tmp_path: Path) -> None:
    assert queue.add(entry())
    assert not queue.add(entry())
    queue.refresh()

    assert queue.length == queue.count(WAITING) == 1
    assert queue.next_due() == entry()
    assert json.loads((tmp_path / WAITING / "1.1.1").read_text())["study"] == "1"


def test_instances_are_tried_in_the_order_in_which_they_came_and_not_before_they_are_due(
    queue: DiskQueue, clock: Clock
) -> None:
    first, second, later = entry(3, queued=1.0), entry(1, queued=2.0), entry(2, queued=0.0, due=1010.0)
    for each in (second, later, first):
        queue.add(each)
    queue.refresh()

    assert [queue.next_due() for _ in range(2)] == [first, first]
    queue.finish(first)
    assert queue.next_due() == second
    queue.finish(second)
    assert queue.next_due() is None
    clock.now = 1010.0
    assert queue.next_due() == later


def test_an_instance_that_was_tried_lets_the_others_go_first(queue: DiskQueue) -> None:
    tried, other = entry(1, queued=1.0, attempts=1), entry(2, queued=2.0)
    queue.add(tried)
    queue.add(other)
    queue.refresh()

    assert queue.next_due() == other
    queue.finish(other)
    assert queue.next_due() == tried


def test_what_is_done_is_a_name_and_is_not_taken_in_again(queue: DiskQueue, tmp_path: Path) -> None:
    queue.add(entry(), b"file")
    queue.finish(entry())

    assert states(tmp_path) == {WAITING: [], FAILED: [], DONE: ["1.1.1"], RECEIVED: []}
    assert (tmp_path / DONE / "1.1.1").stat().st_size == 0
    assert not queue.add(entry())


def test_what_failed_has_its_reason_and_can_wait_again(queue: DiskQueue, tmp_path: Path) -> None:
    queue.add(entry(attempts=3), b"file")
    queue.fail(entry(attempts=3), "damaged")

    assert states(tmp_path) == {WAITING: [], FAILED: ["1.1.1"], DONE: [], RECEIVED: ["1.1.1"]}
    [failed] = queue.failed()
    assert (failed.reason, failed.due, failed.attempts) == ("damaged", 1000.0, 3)

    queue.put_back(failed)
    queue.refresh()
    assert queue.next_due() == entry()
    assert states(tmp_path) == {WAITING: ["1.1.1"], FAILED: [], DONE: [], RECEIVED: ["1.1.1"]}


def test_what_failed_and_is_stored_again_waits_again(queue: DiskQueue, tmp_path: Path) -> None:
    queue.add(entry(study=""), b"file")
    queue.fail(entry(study="", attempts=3), "damaged")

    assert queue.add(entry(), b"again")
    queue.refresh()
    assert queue.next_due() == entry()
    assert queue.content(entry()) == b"again"
    assert states(tmp_path) == {WAITING: ["1.1.1"], FAILED: [], DONE: [], RECEIVED: ["1.1.1"]}


def test_another_process_sees_what_was_added_and_put_back(queue: DiskQueue, tmp_path: Path) -> None:
    other = DiskQueue(tmp_path)
    other.add(entry())
    queue.refresh()
    assert queue.length == 1

    queue.fail(entry(), "damaged")
    other.put_back(*other.failed())
    queue.refresh()
    assert queue.length == 1

    (tmp_path / WAITING / "1.1.1").unlink()
    queue.refresh()
    assert queue.next_due() is None


def test_what_was_tried_is_on_the_disk(queue: DiskQueue, tmp_path: Path) -> None:
    queue.add(entry())
    queue.update(entry(attempts=2, reason="busy"))

    after = DiskQueue(tmp_path)
    after.refresh()
    assert after.next_due() == entry(attempts=2, reason="busy")


@pytest.mark.parametrize("step", ["finish", "fail", "put_back"])
@pytest.mark.parametrize("function", ["replace", "unlink", "truncate", "fsync"])
def test_a_process_that_ends_within_a_move_loses_nothing(
    queue: DiskQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, function: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_arguments: object, **_options: object) -> None:
        raise Killed

    queue.add(entry(), b"file")
    if step == "put_back":
        queue.fail(entry(), "damaged")
    moves = {"finish": queue.finish, "fail": lambda each: queue.fail(each, "damaged"), "put_back": queue.put_back}
    with monkeypatch.context() as broken, suppress(Killed):
        broken.setattr(os if function in ("truncate", "fsync") else Path, function, die)
        moves[step](entry())

    after = DiskQueue(tmp_path)
    with after.opened():
        found = states(tmp_path)
        kept = [state for state in (WAITING, FAILED, DONE) if "1.1.1" in found[state]]
        assert len(kept) == 1, found
        assert all(name == "1.1.1" for names in found.values() for name in names)
        assert found[RECEIVED] == ([] if kept == [DONE] else ["1.1.1"])


def test_a_full_disk_adds_nothing(queue: DiskQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("heatlens_cli.atomic_file.os.fsync", full)
    with pytest.raises(OSError, match=r"No space left.*1\.1\.1"):
        queue.add(entry(), b"file")

    assert states(tmp_path) == {WAITING: [], FAILED: [], DONE: [], RECEIVED: []}


def test_names_of_what_ended_are_forgotten_after_a_while(queue: DiskQueue, tmp_path: Path, clock: Clock) -> None:
    for number, ended in ((1, queue.finish), (2, queue.finish), (3, lambda each: queue.fail(each, "damaged"))):
        queue.add(entry(number), b"file")
        ended(entry(number))
    queue.add(entry(4))
    for state, name in ((DONE, "1.1.1"), (FAILED, "1.1.3"), (WAITING, "1.1.4")):
        os.utime(tmp_path / state / name, (0, 0))
    os.utime(tmp_path / DONE / "1.1.2", (5 * DAY_S, 5 * DAY_S))
    clock.now = 10 * DAY_S + 1

    assert queue.forget_older(days=7) == 2
    assert states(tmp_path) == {WAITING: ["1.1.4"], FAILED: [], DONE: ["1.1.2"], RECEIVED: []}


def test_a_damaged_file_is_an_instance_that_fails(queue: DiskQueue, tmp_path: Path) -> None:
    (tmp_path / WAITING / "1.1.1").write_text("{")
    queue.refresh()
    damaged = queue.next_due()

    assert damaged is not None
    assert (damaged.study, damaged.reason) == ("", DAMAGED)
    queue.fail(damaged, damaged.reason)
    assert [each.reason for each in queue.failed()] == [DAMAGED]


def test_only_one_process_works_on_a_queue(queue: DiskQueue, tmp_path: Path) -> None:
    with (
        queue.opened(),
        pytest.raises(CannotWatch, match="another process works on this queue"),
        DiskQueue(tmp_path).opened(),
    ):
        pass
    with DiskQueue(tmp_path).opened():
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(CannotWatch, match=r"file: File exists"), DiskQueue(tmp_path / "file").opened():
        pass


def test_others_cannot_read_what_was_received(queue: DiskQueue, tmp_path: Path) -> None:
    assert [(tmp_path / state).stat().st_mode & 0o077 for state in (WAITING, RECEIVED)] == [0, 0]

    with DiskQueue(tmp_path / "new").opened():
        assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def test_names_are_on_the_disk_before_the_place_moves_on(queue: DiskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(disk_queue, "_sync", lambda folder: synced.append(folder.name))
    queue.add(entry(), b"file")
    queue.sync()

    assert synced == [RECEIVED, WAITING]


@pytest.mark.parametrize(
    ("uid", "can"),
    [
        ("1.2.840", True),
        ("1.02", True),
        ("", False),
        ("..", False),
        ("../1.2", False),
        ("1" * 65, False),
        ("1a", False),
    ],
)
def test_a_uid_is_never_a_path(uid: str, *, can: bool) -> None:
    assert is_name(uid) is can
