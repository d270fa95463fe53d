"""Orthanc's log is followed page by page; a place that is on the disk loses nothing and begins nothing twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from heatlens_cli.dicom.disk_queue import DiskQueue
from heatlens_cli.dicom.failures import CannotWatch, InstanceGone, PacsFailed, PacsRefused, PacsUnavailable
from heatlens_cli.dicom.orthanc_changes import PAGE, OrthancChanges
from heatlens_cli.dicom.rules import Rule

RULES = (Rule("rule 1", Path("model"), ("sc",), {}, modality=("CR",)),)


class Log:
    """Orthanc's log and tags, as `Pacs.ask_orthanc` returns them; `failures` are raised for places, once each."""

    def __init__(self) -> None:
        self.changes: list[dict[str, Any]] = []
        self.tags: dict[str, dict[str, str]] = {}
        self.failures: dict[str, list[Exception]] = {}
        self.asked: list[str] = []

    def store(self, number: int, **tags: str) -> None:
        identifier = f"id-{number}"
        self.tags[identifier] = {
            "StudyInstanceUID": "1",
            "SeriesInstanceUID": "1.1",
            "SOPInstanceUID": f"1.1.{number}",
            "Modality": "CR",
        } | tags
        self.note("NewInstance", identifier)
        self.note("NewSeries", "series")

    def note(self, kind: str, identifier: str) -> None:
        number = self.changes[-1]["Seq"] + 1 if self.changes else 1
        date = f"20260101T{number:06}"
        self.changes.append({"Seq": number, "ChangeType": kind, "ID": identifier, "Date": date})

    def ask_orthanc(self, place: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - of a query
        self.asked.append(place)
        if self.failures.get(place):
            raise self.failures[place].pop(0)
        if place == "changes":
            return self._page(parameters)
        _, identifier, *part = place.split("/")
        if part == ["simplified-tags"]:
            return self.tags[identifier]
        return {"FileSize": "5", "MainDicomTags": self.tags[identifier]}

    def _page(self, parameters: dict[str, Any]) -> dict[str, Any]:
        if "last" in parameters:
            found = self.changes[-1:]
            return {"Changes": found, "Done": True, "Last": found[0]["Seq"] if found else 0}
        since = int(parameters["since"])
        later = [change for change in self.changes if change["Seq"] > since]
        page = later[: int(parameters["limit"])]
        return {"Changes": page, "Done": len(page) == len(later), "Last": page[-1]["Seq"] if page else since}


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def queue(tmp_path: Path) -> DiskQueue:
    made = DiskQueue(tmp_path)
    with made.opened():
        return made


def changes_of(log: Log, queue: DiskQueue, folder: Path, *, existing: bool = False) -> OrthancChanges:
    return OrthancChanges(log, queue, RULES, folder / "place.json", existing=existing)  # type: ignore[arg-type]  # Log


def waiting(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "waiting").iterdir())


def test_the_first_start_begins_at_the_end_of_the_log(log: Log, queue: DiskQueue, tmp_path: Path) -> None:
    log.store(1)
    changes = changes_of(log, queue, tmp_path)
    assert changes.poll()
    log.store(2)
    log.store(3, Modality="US")
    assert changes.poll()

    assert waiting(tmp_path) == ["1.1.2"]
    entry = json.loads((tmp_path / "waiting" / "1.1.2").read_text())
    assert (entry["study"], entry["series"], entry["size"]) == ("1", "1.1", 5)


def test_the_first_start_begins_at_the_beginning_if_asked_to(log: Log, queue: DiskQueue, tmp_path: Path) -> None:
    log.store(1)
    changes_of(log, queue, tmp_path, existing=True).poll()

    assert waiting(tmp_path) == ["1.1.1"]


def test_a_next_start_goes_on_where_the_last_one_was(log: Log, queue: DiskQueue, tmp_path: Path) -> None:
    changes_of(log, queue, tmp_path).poll()
    log.store(1)
    changes_of(log, queue, tmp_path).poll()
    changes_of(log, queue, tmp_path, existing=True).poll()

    assert waiting(tmp_path) == ["1.1.1"]
    assert log.asked.count("instances/id-1/simplified-tags") == 1


def test_a_long_log_is_read_in_pages(log: Log, queue: DiskQueue, tmp_path: Path) -> None:
    changes = changes_of(log, queue, tmp_path)
    changes.resume()
    for number in range(PAGE):
        log.store(number)

    assert [changes.poll() for _ in range(3)] == [False, True, True]
    assert len(waiting(tmp_path)) == PAGE


@pytest.mark.parametrize("error", [PacsUnavailable("away"), PacsFailed("the PACS answered 500")])
def test_the_place_stays_where_a_page_was_not_read_to_its_end(
    log: Log, queue: DiskQueue, tmp_path: Path, error: Exception
) -> None:
    changes = changes_of(log, queue, tmp_path)
    changes.resume()
    log.store(1)
    log.store(2)
    log.failures["instances/id-2"] = [error]
    with pytest.raises(PacsUnavailable):
        changes.poll()
    assert waiting(tmp_path) == ["1.1.1"]

    after = changes_of(log, queue, tmp_path)
    after.poll()
    assert waiting(tmp_path) == ["1.1.1", "1.1.2"]


def test_the_place_is_noted_after_the_instances_are_on_the_disk(
    log: Log, queue: DiskQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = changes_of(log, queue, tmp_path)
    changes.resume()
    log.store(1)
    places: list[str] = []
    monkeypatch.setattr(queue, "sync", lambda: places.append((tmp_path / "place.json").read_text()))
    changes.poll()

    assert [json.loads(place)["last"] for place in places] == [0]
    assert json.loads((tmp_path / "place.json").read_text())["last"] == 2


def test_an_instance_that_was_deleted_is_passed_over(log: Log, queue: DiskQueue, tmp_path: Path) -> None:
    changes = changes_of(log, queue, tmp_path)
    changes.resume()
    log.store(1)
    log.store(2)
    log.failures["instances/id-1/simplified-tags"] = [InstanceGone("gone")]
    changes.poll()

    assert waiting(tmp_path) == ["1.1.2"]


def test_an_instance_whose_file_is_damaged_is_queued_by_the_database(
    log: Log, queue: DiskQueue, tmp_path: Path
) -> None:
    changes = changes_of(log, queue, tmp_path)
    changes.resume()
    log.store(1)
    log.failures["instances/id-1/simplified-tags"] = [PacsFailed("the PACS answered 500")]
    changes.poll()

    assert waiting(tmp_path) == ["1.1.1"]


@pytest.mark.parametrize("uid", ["../escaped", "letters"])
def test_an_instance_whose_uid_is_no_name_is_left_alone(log: Log, queue: DiskQueue, tmp_path: Path, uid: str) -> None:
    changes = changes_of(log, queue, tmp_path)
    changes.resume()
    log.store(1, SOPInstanceUID=uid)
    changes.poll()

    assert waiting(tmp_path) == []
    assert not (tmp_path / "escaped").exists()


def test_a_log_that_begins_anew_is_read_from_its_beginning(log: Log, queue: DiskQueue, tmp_path: Path) -> None:
    for number in range(10):
        log.store(number)
    changes_of(log, queue, tmp_path).poll()
    log.changes = [{"Seq": 1, "ChangeType": "NewInstance", "ID": "id-3", "Date": "20260202T000000"}]
    changes_of(log, queue, tmp_path).poll()

    assert waiting(tmp_path) == ["1.1.3"]


def test_an_empty_log_is_begun_anew(log: Log, queue: DiskQueue, tmp_path: Path) -> None:
    log.store(1)
    changes_of(log, queue, tmp_path).poll()
    log.changes = []
    changes = changes_of(log, queue, tmp_path)
    changes.poll()
    log.store(3)
    changes.poll()

    assert waiting(tmp_path) == ["1.1.3"]


def test_a_log_of_a_backup_is_followed_from_its_end(log: Log, queue: DiskQueue, tmp_path: Path) -> None:
    for number in range(10):
        log.store(number)
    changes_of(log, queue, tmp_path).poll()
    log.changes = log.changes[:4]
    changes = changes_of(log, queue, tmp_path)
    changes.poll()
    log.store(11)
    changes.poll()

    assert waiting(tmp_path) == ["1.1.11"]


def test_an_instance_that_cannot_be_read_is_named_and_not_passed_over(
    log: Log, queue: DiskQueue, tmp_path: Path
) -> None:
    changes = changes_of(log, queue, tmp_path, existing=True)
    log.store(1)
    log.failures["instances/id-1/simplified-tags"] = [PacsRefused("the PACS answered 405")]

    with pytest.raises(PacsUnavailable, match="Orthanc's instance id-1 cannot be read: the PACS answered 405"):
        changes.poll()
    changes.poll()
    assert waiting(tmp_path) == ["1.1.1"]


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_instance_of_an_invalid_study_is_left_alone(
    log: Log, queue: DiskQueue, tmp_path: Path, keyword: str
) -> None:
    log.store(1, **{keyword: "1.2?"})
    changes_of(log, queue, tmp_path, existing=True).poll()

    assert waiting(tmp_path) == []


def test_a_log_whose_last_changes_were_deleted_is_not_begun_anew(log: Log, queue: DiskQueue, tmp_path: Path) -> None:
    for number in range(10):
        log.store(number)
    changes_of(log, queue, tmp_path).poll()
    log.changes = log.changes[:4]
    changes_of(log, queue, tmp_path).poll()

    assert waiting(tmp_path) == []


def test_an_address_without_a_log_is_waited_for_with_a_reason(log: Log, queue: DiskQueue, tmp_path: Path) -> None:
    log.failures["changes"] = [InstanceGone("the PACS does not have it (404)")]

    with pytest.raises(PacsUnavailable, match=r"Orthanc's log of changes cannot be read: .*404"):
        changes_of(log, queue, tmp_path).poll()


def test_after_an_outage_a_log_that_begins_anew_is_noticed(log: Log, queue: DiskQueue, tmp_path: Path) -> None:
    for number in range(10):
        log.store(number)
    changes = changes_of(log, queue, tmp_path)
    changes.poll()
    log.changes = [{"Seq": 1, "ChangeType": "NewInstance", "ID": "id-3", "Date": "20260202T000000"}]
    changes.forget_place()
    changes.poll()

    assert waiting(tmp_path) == ["1.1.3"]


def test_a_damaged_place_is_named(log: Log, queue: DiskQueue, tmp_path: Path) -> None:
    (tmp_path / "place.json").write_text("{")

    with pytest.raises(CannotWatch, match=r"place\.json is damaged"):
        changes_of(log, queue, tmp_path).poll()
