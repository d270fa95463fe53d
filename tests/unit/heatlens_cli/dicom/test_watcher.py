"""The loop: each instance ends as done or failed, or waits for a reason, however often the process ends."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from heatlens.errors import NoDicomObject
from heatlens.results import DicomObject
from heatlens_cli.dicom import watcher
from heatlens_cli.dicom.disk_queue import DONE, FAILED, WAITING, DiskQueue, Entry
from heatlens_cli.dicom.failures import InstanceGone, PacsFailed, PacsUnavailable
from heatlens_cli.dicom.rules import Rule
from heatlens_cli.dicom.watch_file import Queue, Server, WatchFile
from heatlens_cli.dicom.watcher import Watcher
from tests.support.dicom_studies import radiograph

RULE = Rule("rule 1", Path("model"), ("sc",), {}, modality=("CR",))
ATTEMPTS = 3
Explain = Callable[[bytes], tuple[DicomObject, ...]]


def entry(number: int = 1, **more: object) -> Entry:
    return Entry.model_validate({"study": "1", "series": "1.1", "instance": f"1.1.{number}", "queued": number} | more)


@dataclass
class World:
    """A queue, a PACS and a rule that do what a test says; the loop stops once nothing is due."""

    folder: Path
    failures: list[BaseException] = field(default_factory=list)  # of storing, one after another
    data: bytes = field(default_factory=radiograph)
    stored: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    polls: list[Callable[[], bool]] = field(default_factory=list)
    most_waits: int = 20

    def __post_init__(self) -> None:
        self.queue = DiskQueue(self.folder, lambda: 1e12)  # all that waits is due
        self.is_stopped = False

    def is_set(self) -> bool:
        return self.is_stopped

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.is_stopped |= len(self.waits) > self.most_waits or not self.queue.count(WAITING)

    def explain(self, data: bytes) -> tuple[DicomObject, ...]:
        assert data == self.data
        return (DicomObject("sc", 0, "OPACITY", "1.2", "2.25.1", b"object"),)

    def fetch(self, _study: str, _series: str, instance: str) -> bytes:
        self.stored.append(f"fetched {instance}")
        return self.data

    def store(self, study: str, objects: tuple[DicomObject, ...]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.stored.append(f"{len(objects)} in {study}")

    def poll(self) -> bool:
        return self.polls.pop(0)() if self.polls else True

    def forget_place(self) -> None:
        self.stored.append("place forgotten")

    def run(self, explain: Explain | None = None, *, file_bytes: int = 10**9) -> None:
        file = WatchFile(Path("pacs.toml"), Server(poll_s=0.001), Queue(attempts=ATTEMPTS), None, (RULE,))
        self.is_stopped = False
        Watcher(
            self.queue,
            SimpleNamespace(fetch=self.fetch, store=self.store),  # type: ignore[arg-type]
            {"rule 1": explain or self.explain},  # type: ignore[dict-item]
            self,
            self,  # type: ignore[arg-type]  # the signal, which waits for nothing
            file=file,
            file_bytes=file_bytes,
        ).run()

    def counts(self) -> tuple[int, int, int]:
        return self.queue.count(WAITING), self.queue.count(FAILED), self.queue.count(DONE)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    with made.queue.opened():
        pass
    return made


def test_an_instance_is_fetched_explained_stored_and_done(world: World, heard: list[str]) -> None:
    world.queue.add(entry())
    world.run()

    assert world.stored == ["fetched 1.1.1", "1 in 1"]
    assert world.counts() == (0, 0, 1)
    [line] = [line for line in heard if line.startswith("done ")]
    assert line.startswith("done 1.1.1: stored sc (0.0 MB) in ")
    assert line.endswith(" by rule 1")


def test_a_received_instance_is_read_from_the_queue(world: World) -> None:
    world.queue.add(entry(is_received=True), world.data)
    world.run()

    assert world.stored == ["1 in 1"]
    assert world.counts() == (0, 0, 1)


def test_a_received_instance_without_its_file_fails(world: World) -> None:
    world.queue.add(entry(is_received=True))
    world.run()

    assert [each.reason for each in world.queue.failed()] == ["its file in the queue is gone: send it again"]


def test_an_instance_that_no_rule_explains_any_more_is_left_alone(world: World) -> None:
    world.data = radiograph(Modality="US")
    world.queue.add(entry())
    world.run()

    assert world.stored == ["fetched 1.1.1"]
    assert world.counts() == (0, 0, 1)


@pytest.mark.parametrize("error", [NoDicomObject("a Parametric Map needs a place"), InstanceGone("gone")])
def test_what_no_repetition_changes_fails_at_once_with_its_sentence(world: World, error: Exception) -> None:
    world.failures = [error]
    world.queue.add(entry())
    world.queue.add(entry(2))
    world.run()

    assert [(each.instance, each.reason) for each in world.queue.failed()] == [("1.1.1", str(error))]
    assert world.counts() == (0, 1, 1)


def test_a_failure_that_may_pass_is_tried_again_later_and_later_and_then_fails(world: World, heard: list[str]) -> None:
    world.failures = [PacsFailed("the PACS answered 500")] * ATTEMPTS
    world.queue.add(entry())
    world.run()

    assert [line.partition(":")[0] for line in heard if line.startswith("retry ")] == [
        "retry 1.1.1 in 2 s",
        "retry 1.1.1 in 4 s",
    ]
    assert [each.reason for each in world.queue.failed()] == ["the PACS answered 500"]


def test_a_failure_that_passed_leaves_no_trace(world: World) -> None:
    world.failures = [PacsFailed("the PACS answered 500")] * (ATTEMPTS - 1)
    world.queue.add(entry())
    world.run()

    assert world.counts() == (0, 0, 1)


def test_an_outage_counts_for_no_instance_and_is_waited_for(world: World, heard: list[str]) -> None:
    world.failures = [PacsUnavailable("away")] * (ATTEMPTS + 5)
    world.queue.add(entry())
    world.run()

    assert world.counts() == (0, 0, 1)
    assert [wait for wait in world.waits if wait >= 1] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert heard.count("the PACS answers again") == 1
    assert "place forgotten" in world.stored


def test_an_outage_may_last_a_weekend(world: World) -> None:
    pauses = 3000
    world.failures = [PacsUnavailable("away")] * pauses
    world.most_waits = pauses + 10
    world.queue.add(entry())
    world.run()

    assert world.counts() == (0, 0, 1)
    assert world.waits.count(60) > pauses - 10


def test_what_waits_goes_on_where_nothing_can_be_taken_in(world: World) -> None:
    def poll() -> bool:
        raise PacsUnavailable("one instance cannot be read")

    world.polls = [poll] * 20
    for number in (1, 2):
        world.queue.add(entry(number))
    world.queue.refresh()
    world.run()

    assert world.counts() == (0, 0, 2)


def test_an_instance_at_which_the_pacs_does_not_answer_lets_the_others_go_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def fetch(_study: str, _series: str, instance: str) -> bytes:
        tried.append(instance)
        if instance == "1.1.1" and tried.count(instance) < 3:
            raise PacsUnavailable("too slow")
        return world.data

    monkeypatch.setattr(world, "fetch", fetch)
    for number in (1, 2, 3):
        world.queue.add(entry(number))
    world.run()

    assert tried == ["1.1.1", "1.1.2", "1.1.3", "1.1.1", "1.1.1"]
    assert world.counts() == (0, 0, 3)


def test_an_instance_at_which_the_process_ends_each_time_fails_and_the_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def fetch(_study: str, _series: str, instance: str) -> bytes:
        if instance == "1.1.1":
            raise Killed
        return world.data

    monkeypatch.setattr(world, "fetch", fetch)
    world.queue.add(entry())
    world.queue.add(entry(2))
    for done in (0, *[1] * (ATTEMPTS - 1)):
        with pytest.raises(Killed):
            world.run()
        assert world.counts() == (2 - done, 0, done)
        world.queue = DiskQueue(world.folder, lambda: 1e9)  # nothing is old
    world.run()

    [failed] = world.queue.failed()
    assert failed.instance == "1.1.1"
    assert failed.reason.startswith(f"tried {ATTEMPTS} times: the process ended each time")
    assert world.counts() == (0, 1, 1)


def test_an_unforeseen_error_fails_without_its_message(world: World, heard: list[str]) -> None:
    def fail(_data: bytes) -> tuple[DicomObject, ...]:
        raise ValueError("Doe^Jane")

    world.queue.add(entry())
    world.run(fail)

    assert [each.reason for each in world.queue.failed()] == ["internal error: ValueError; the log has its place"]
    assert [line for line in heard if "Doe" in line] == []
    assert [line for line in heard if "ValueError at fail:" in line]


def test_want_of_memory_is_tried_again(world: World) -> None:
    errors = [MemoryError(), MemoryError()]

    def explain(data: bytes) -> tuple[DicomObject, ...]:
        if errors:
            raise errors.pop()
        return world.explain(data)

    world.queue.add(entry())
    world.run(explain)

    assert world.counts() == (0, 0, 1)


def test_a_file_over_the_limit_is_not_fetched(world: World) -> None:
    world.queue.add(entry(size=101))
    world.run(file_bytes=100)

    assert world.stored == []
    assert [each.reason for each in world.queue.failed()] == [
        "the file is over the limit of 100 bytes (HEATLENS_FILE_BYTES)"
    ]


def test_a_damaged_file_of_the_queue_fails(world: World) -> None:
    (world.folder / WAITING / "1.1.1").write_text("{")
    world.run()

    assert world.counts() == (0, 1, 0)


def test_a_stopped_loop_finishes_the_instance_in_work_and_keeps_the_others(world: World) -> None:
    def explain(data: bytes) -> tuple[DicomObject, ...]:
        world.is_stopped = True
        return world.explain(data)

    world.queue.add(entry())
    world.queue.add(entry(2))
    world.run(explain)

    assert world.counts() == (1, 0, 1)


def test_a_full_queue_takes_in_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "MOST_WAITING", 2)
    most: list[int] = []
    numbers = iter(range(10))

    def take_two() -> bool:
        for _ in range(2):
            world.queue.add(entry(next(numbers)))
        most.append(world.queue.count(WAITING))
        return False

    world.polls = [take_two] * 5
    world.run()

    assert max(most) == 3
    assert world.counts() == (0, 0, 10)


def test_old_names_are_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    days: list[float] = []

    def forget(count: float) -> int:
        days.append(count)
        return 0

    monkeypatch.setattr(world.queue, "forget_older", forget)
    world.queue.add(entry())
    world.run()

    assert days == [30]
