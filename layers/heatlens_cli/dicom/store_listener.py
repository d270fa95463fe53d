"""Receive instances by C-STORE, for a PACS that has no log of changes: it sends what it has, as to any station."""

import logging
import time
from collections.abc import Sequence

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made when it is imported
from pynetdicom.transport import ThreadedAssociationServer

from heatlens.errors import HeatlensError
from heatlens_cli.dicom.disk_queue import WAITING, DiskQueue, Entry, is_name
from heatlens_cli.dicom.facts import read_facts
from heatlens_cli.dicom.failures import CannotWatch
from heatlens_cli.dicom.rules import Rule, choose_rule
from heatlens_cli.dicom.watch_file import Listen

MOST_WAITING = 10_000
LEAST_FREE_BYTES = 1 << 30  # of the queue's disk
# Statuses of C-STORE (PS3.4 B.2.3): the sender tries again after the second alone.
_SUCCESS, _OUT_OF_RESOURCES, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
_log = logging.getLogger(__name__)


class StoreListener:
    """A receiver that answers success once an instance is in the queue, on the disk, or no rule explains it."""

    def __init__(self, queue: DiskQueue, rules: Sequence[Rule], file_bytes: int) -> None:
        self._queue, self._rules, self._file_bytes = queue, rules, file_bytes

    def start(self, listen: Listen) -> ThreadedAssociationServer:
        """Listen in threads of its own; `shutdown` of what is returned ends it.

        Raises:
            CannotWatch: The port is in use, or the address is not one of this machine.
        """
        for name in ("pynetdicom", "pynetdicom.events"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # its messages quote what was received
        receiver = AE(ae_title=listen.ae_title)
        for context in AllStoragePresentationContexts:
            assert context.abstract_syntax is not None
            receiver.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
        receiver.add_supported_context(Verification)
        receiver.require_calling_aet = list(listen.senders)
        handlers: list[EventHandlerType] = [(evt.EVT_C_STORE, self.receive)]
        try:
            server = receiver.start_server((listen.host, listen.port), block=False, evt_handlers=handlers)
        except OSError as error:
            raise CannotWatch(f"cannot listen on {listen.host}, port {listen.port}: {error.strerror}") from error
        assert server is not None
        return server

    def receive(self, event: Event) -> int:
        """Queue an instance and return the status for its sender."""
        data = event.encoded_dataset()
        if len(data) > self._file_bytes:
            _log.error("refused an instance of %d bytes: the limit is %d", len(data), self._file_bytes)
            return _NOT_UNDERSTOOD
        try:
            return self._queue_file(data)
        except HeatlensError as error:
            _log.error("refused an instance: %s", error)
            return _NOT_UNDERSTOOD
        except OSError as error:
            _log.error("cannot queue an instance: %s", error.strerror)
            return _OUT_OF_RESOURCES
        except MemoryError:
            _log.error("cannot queue an instance: the memory ran out")
            return _OUT_OF_RESOURCES

    def _queue_file(self, data: bytes) -> int:
        facts = read_facts(data)
        if choose_rule(self._rules, facts) is None:
            return _SUCCESS
        if not all(map(is_name, (facts.study, facts.series, facts.instance))):
            _log.error("refused an instance: a UID of it, its series or study is not valid")
            return _NOT_UNDERSTOOD
        if self._queue.count(WAITING) >= MOST_WAITING or self._queue.free_bytes < LEAST_FREE_BYTES:
            _log.error("refused an instance for now: too many wait, or the queue's disk is nearly full")
            return _OUT_OF_RESOURCES
        entry = Entry(
            study=facts.study,
            series=facts.series,
            instance=facts.instance,
            queued=time.time(),
            size=len(data),
            is_received=True,
        )
        if self._queue.add(entry, data):
            self._queue.sync()
            _log.info("queued %s", facts.instance)
        return _SUCCESS
