"""The loop of `heatlens dicom watch`: take in what is new, explain what waits, store it, and remember the outcome."""

import logging
import time
from collections.abc import Mapping
from typing import Protocol

from heatlens.errors import FileTooLarge, HeatlensError, OutOfMemory, UnreadableImage, is_out_of_memory
from heatlens.results import DicomObject
from heatlens_aws.error_summary import private_traceback
from heatlens_cli.dicom.disk_queue import DAMAGED, DiskQueue, Entry
from heatlens_cli.dicom.facts import read_facts
from heatlens_cli.dicom.failures import PacsUnavailable
from heatlens_cli.dicom.pacs import Pacs
from heatlens_cli.dicom.rule_explainer import RuleExplainer
from heatlens_cli.dicom.rules import Rule, choose_rule
from heatlens_cli.dicom.stop_signal import StopSignal
from heatlens_cli.dicom.watch_file import WatchFile

MOST_WAITING = 1000  # no more are taken in from a log, which keeps the others
LONGEST_OUTAGE_WAIT_S, LONGEST_RETRY_WAIT_S = 60.0, 600.0
_MOST_DOUBLINGS = 10
_CLEAN_EVERY_S = 24 * 60 * 60
_log = logging.getLogger(__name__)


class Intake(Protocol):
    """Where instances come from."""

    def poll(self) -> bool:
        """Queue what is new, a part at a time; return whether there is no more now."""

    def forget_place(self) -> None:
        """The PACS was away."""


class Watcher:
    """Works on the queue of one PACS, one instance at a time, until it is stopped."""

    def __init__(
        self,
        queue: DiskQueue,
        pacs: Pacs,
        explainers: Mapping[str, RuleExplainer],
        intake: Intake | None,
        stop: StopSignal,
        *,
        file: WatchFile,
        file_bytes: int,
    ) -> None:
        """Take what the loop works with.

        Args:
            queue: The queue, opened.
            pacs: Where instances are fetched and results are stored.
            explainers: For each rule's title what explains its instances.
            intake: Fills the queue, if it is not filled otherwise.
            stop: Ends the loop once it is set.
            file: The rules and settings.
            file_bytes: The largest file.
        """
        self._queue, self._pacs, self._explainers, self._intake, self._stop = queue, pacs, explainers, intake, stop
        self._rules, self._file_bytes = file.rules, file_bytes
        self._poll_s, self._attempts, self._keep_days = file.server.poll_s, file.queue.attempts, file.queue.keep_days
        self._next_poll = self._next_cleaning = 0.0
        self._outages = 0

    def run(self) -> None:
        """Work until stopped; the instance in work is finished first.

        Raises:
            OSError: The queue cannot be read or written; nothing in it is lost.
        """
        while not self._stop.is_set():
            for step in (self._take_in, self._work_or_wait):  # what waits goes on where nothing can be taken in
                try:
                    step()
                except PacsUnavailable as error:
                    self._wait_for_pacs(error)

    def _take_in(self) -> None:
        now = time.monotonic()
        if now >= self._next_cleaning:
            self._next_cleaning = now + _CLEAN_EVERY_S
            if count := self._queue.forget_older(self._keep_days):
                _log.info("forgot %d instances that ended over %g days ago", count, self._keep_days)
        if now < self._next_poll:
            return
        is_last = True
        if self._intake and self._queue.length < MOST_WAITING:
            is_last = self._intake.poll()
        self._queue.refresh()
        if not self._queue.length:
            self._over_again()
        self._next_poll = now + self._poll_s if is_last else 0.0

    def _work_or_wait(self) -> None:
        if entry := self._queue.next_due():
            self._work(entry)
        else:
            self._stop.wait(self._next_poll - time.monotonic())

    def _work(self, entry: Entry) -> None:
        """Bring one instance to an end, or note why it waits."""
        if not entry.study:
            self._fail(entry, entry.reason or DAMAGED)
            return
        if entry.attempts >= self._attempts:
            ended = "the process ended each time while it worked on this instance; the image may need too much memory"
            self._fail(entry, f"tried {entry.attempts} times: {entry.reason or ended}")
            return
        begun = self._queue.update(entry.model_copy(update={"attempts": entry.attempts + 1}))
        try:
            self._explain(begun)
        except PacsUnavailable:
            # No attempt, and behind the others: it may be the only one at which the PACS does not answer.
            self._queue.update(entry.model_copy(update={"due": time.time()}))
            raise
        except HeatlensError as error:
            self._end_or_repeat(begun, error)
        except OSError:
            raise  # of the queue's disk: its files stay as they are
        except Exception as error:
            if is_out_of_memory(error):
                self._end_or_repeat(begun, OutOfMemory())
                return
            _log.error("%s: unforeseen error\n%s", entry.instance, private_traceback(error))
            self._fail(begun, f"internal error: {type(error).__name__}; the log has its place")

    def _explain(self, entry: Entry) -> None:
        start = time.perf_counter()
        data = self._content(entry)
        rule = choose_rule(self._rules, read_facts(data))
        if rule is None:
            self._queue.finish(entry)
            _log.info("left alone %s: no rule explains it", entry.instance)
            return
        objects = self._explainers[rule.title](data)
        self._pacs.store(entry.study, objects)
        self._over_again()
        self._queue.finish(entry)
        _log.info("done %s: %s", entry.instance, _told(rule, objects, time.perf_counter() - start))

    def _content(self, entry: Entry) -> bytes:
        self._check_size(entry.size)
        if not entry.is_received:
            data = self._pacs.fetch(entry.study, entry.series, entry.instance)
            self._check_size(len(data))
            return data
        try:
            return self._queue.content(entry)
        except FileNotFoundError as error:
            raise UnreadableImage("its file in the queue is gone: send it again") from error

    def _check_size(self, size: int) -> None:
        if size > self._file_bytes:
            raise FileTooLarge(f"the file is over the limit of {self._file_bytes:,} bytes (HEATLENS_FILE_BYTES)")

    def _end_or_repeat(self, entry: Entry, error: HeatlensError) -> None:
        if not error.retryable or entry.attempts >= self._attempts:
            self._fail(entry, str(error))
            return
        wait = min(2.0 ** min(entry.attempts, _MOST_DOUBLINGS), LONGEST_RETRY_WAIT_S)
        self._queue.update(entry.model_copy(update={"due": time.time() + wait, "reason": str(error)}))
        _log.warning("retry %s in %g s: %s", entry.instance, wait, error)

    def _fail(self, entry: Entry, reason: str) -> None:
        self._queue.fail(entry, reason)
        _log.error("failed %s: %s", entry.instance, reason)

    def _wait_for_pacs(self, error: PacsUnavailable) -> None:
        wait = min(2.0 ** min(self._outages, _MOST_DOUBLINGS), LONGEST_OUTAGE_WAIT_S)
        self._outages += 1
        _log.warning("%s: all wait, next try in %g s", error, wait)
        if self._intake:
            self._intake.forget_place()
        self._stop.wait(wait)

    def _over_again(self) -> None:
        if self._outages:
            _log.info("the PACS answers again")
        self._outages = 0


def _told(rule: Rule, objects: tuple[DicomObject, ...], seconds: float) -> str:
    size = sum(len(each.data) for each in objects) / 1e6
    kinds = ", ".join(each.kind for each in objects)
    return f"stored {kinds} ({size:.1f} MB) in {seconds:.2f} s by {rule.title}"
