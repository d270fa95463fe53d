"""Follow the log of changes that Orthanc keeps in its database, and queue each new instance that a rule explains.

The place in the log is on disk, and moves on only when what lies before it is in the queue.
"""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from heatlens_cli.atomic_file import write_atomically
from heatlens_cli.dicom.disk_queue import DiskQueue, Entry, is_name
from heatlens_cli.dicom.facts import Facts
from heatlens_cli.dicom.failures import CannotWatch, InstanceGone, PacsFailed, PacsRefused, PacsUnavailable
from heatlens_cli.dicom.pacs import Pacs
from heatlens_cli.dicom.rules import Rule, choose_rule

PAGE = 100  # changes in one answer
_NEW = "NewInstance"  # logged with the instance itself; the later "stable" events are lost if Orthanc is killed
_log = logging.getLogger(__name__)


class _Place(BaseModel):
    """A place in the log: the number of the last change that was seen, and its date."""

    last: int
    date: str = ""


class OrthancChanges:
    """The log of one Orthanc, followed from a place that is kept in a file."""

    def __init__(self, pacs: Pacs, queue: DiskQueue, rules: Sequence[Rule], file: Path, *, existing: bool) -> None:
        self._pacs, self._queue, self._rules = pacs, queue, rules
        self._file, self._existing = file, existing
        self._place: _Place | None = None

    def resume(self) -> None:
        """Find the place to go on from: that of the file, else the end of the log, or its beginning (`existing`).

        A log that is empty, or whose last change has a smaller number and a later date, was begun anew, and is read
        from its beginning. One that ends earlier lost its last changes, or is a backup: its end is the new place.

        Raises:
            PacsUnavailable: Orthanc does not answer.
            CannotWatch: The file is damaged.
        """
        place = self._read()
        newest = self._ask_changes(last="")
        last, date = int(newest.get("Last") or 0), _date_of(newest)
        if place is None:
            place = _Place(last=0) if self._existing else _Place(last=last, date=date)
            self._save(place)
        elif last < place.last and (date > place.date or not date):
            _log.warning("Orthanc's log begins anew: reading it from its beginning")
            place = _Place(last=0)
        elif last < place.last:
            _log.warning("Orthanc's log ends before the place that was read last: following it from its end")
            place = _Place(last=last, date=date)
        self._place = place

    def poll(self) -> bool:
        """Queue the new instances of one page of the log; return whether it was the last page.

        Raises:
            PacsUnavailable: Orthanc does not answer; the page is read again later.
            OSError: The queue cannot be written; the page is read again later.
        """
        if self._place is None:
            self.resume()
        assert self._place is not None
        page = self._ask_changes(since=self._place.last, limit=PAGE)
        changes = page.get("Changes") or []
        for change in changes:
            if change.get("ChangeType") == _NEW:
                self._consider(str(change.get("ID")))
        if changes:
            self._queue.sync()
            self._place = _Place(last=int(page["Last"]), date=_date_of(page) or self._place.date)
            self._save(self._place)
        return bool(page.get("Done", True))

    def forget_place(self) -> None:
        """Look again where to go on, because Orthanc was away."""
        self._place = None

    def _ask_changes(self, **parameters: str | int) -> dict[str, Any]:
        try:
            return self._pacs.ask_orthanc("changes", **parameters)
        except (PacsFailed, PacsRefused) as error:
            raise PacsUnavailable(f"Orthanc's log of changes cannot be read: {error}") from error

    def _consider(self, identifier: str) -> None:
        """Queue an instance, by Orthanc's identifier, if a rule explains it."""
        try:
            facts = self._facts(identifier)
            if facts is None:
                return
            size = int(self._pacs.ask_orthanc(f"instances/{identifier}").get("FileSize") or 0)
        except InstanceGone:
            _log.info("left alone Orthanc's instance %s: it was deleted since", identifier)
            return
        except (PacsFailed, PacsRefused, PacsUnavailable) as error:
            raise PacsUnavailable(f"Orthanc's instance {identifier} cannot be read: {error}") from error
        if not all(map(is_name, (facts.study, facts.series, facts.instance))):
            _log.warning("left alone Orthanc's instance %s: a UID of it, its series or study is not valid", identifier)
            return
        entry = Entry(study=facts.study, series=facts.series, instance=facts.instance, queued=time.time(), size=size)
        if self._queue.add(entry):
            _log.info("queued %s", facts.instance)

    def _facts(self, identifier: str) -> Facts | None:
        """Read the facts of an instance that a rule explains; `None` for others.

        Of a file that Orthanc cannot read, its database has the UIDs: it is queued, and fails later with a reason.
        """
        place = f"instances/{identifier}"
        try:
            facts = Facts.of_tags(self._pacs.ask_orthanc(f"{place}/simplified-tags"))
        except PacsFailed:
            parts = (self._pacs.ask_orthanc(part) for part in (f"{place}/study", f"{place}/series", place))
            return Facts.of_tags({name: value for part in parts for name, value in part["MainDicomTags"].items()})
        return facts if choose_rule(self._rules, facts) else None

    def _read(self) -> _Place | None:
        try:
            return _Place.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise CannotWatch(f"{self._file} is damaged: remove it to go on with what is new") from error

    def _save(self, place: _Place) -> None:
        with write_atomically(self._file, overwrite=True) as file:
            file.write(json.dumps(place.model_dump()).encode())


def _date_of(page: dict[str, Any]) -> str:
    """Return the date of the last change of a page, as text that sorts; `""` of an empty one."""
    changes = page.get("Changes") or []
    return str(changes[-1].get("Date") or "") if changes else ""
