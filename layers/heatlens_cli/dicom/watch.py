"""Run `heatlens dicom watch`: open the queue, load the models, start the intake, and work until a signal."""

import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from heatlens.settings import LIMITS, read_settings
from heatlens_cli.dicom.disk_queue import WAITING, DiskQueue
from heatlens_cli.dicom.orthanc_changes import OrthancChanges
from heatlens_cli.dicom.pacs import Pacs
from heatlens_cli.dicom.rule_explainer import Models
from heatlens_cli.dicom.stop_signal import StopSignal
from heatlens_cli.dicom.watch_file import WatchFile, checked_rule, read_watch_file
from heatlens_cli.dicom.watcher import Watcher

PLACE = "place.json"  # in the queue's folder: how far the log of changes was read
_LIBRARIES = ("dicomweb_client", "pynetdicom", "urllib3")  # their messages quote what was sent and received
_log = logging.getLogger(__name__)


def watch(path: Path) -> int:
    """Watch the PACS of a file until SIGTERM or SIGINT; the instance in work is finished first.

    Returns:
        The exit status.

    Raises:
        BadWatchFile: The file is wrong, or a rule does not fit its model.
        CannotWatch: The queue or a port cannot be used.
        OSError: The queue's disk failed; what is in the queue stays there.
    """
    file = read_watch_file(path)
    pacs, models = Pacs(file), Models()
    explainers = {rule.title: checked_rule(file, rule, models.explainer_of) for rule in file.rules}
    file_bytes = read_settings().limits(LIMITS).file_bytes
    queue, stop = DiskQueue(file.queue.folder), StopSignal()
    with ExitStack() as stack:
        stack.enter_context(_log_lines())
        stack.enter_context(queue.opened())
        stack.enter_context(stop.on_signals())
        intake = None
        if file.server.orthanc:
            intake = OrthancChanges(pacs, queue, file.rules, file.queue.folder / PLACE, existing=file.server.existing)
        if file.listen:
            from heatlens_cli.dicom.store_listener import StoreListener

            server = StoreListener(queue, file.rules, file_bytes).start(file.listen)
            stack.callback(server.ae.shutdown)  # open associations too: none adds to a queue that is given up
        _announce(file, queue)
        Watcher(queue, pacs, explainers, intake, stop, file=file, file_bytes=file_bytes).run()
        _log.info("stopped: %d instances wait", queue.count(WAITING))
    return 0


def _announce(file: WatchFile, queue: DiskQueue) -> None:
    sources = [file.server.orthanc] if file.server.orthanc else []
    sources += [f"C-STORE to {file.listen.ae_title}@{file.listen.host}:{file.listen.port}"] if file.listen else []
    rules, waiting = len(file.rules), queue.count(WAITING)
    _log.info("watching %s: %d rules, %d instances wait", " and ".join(sources), rules, waiting)


@contextmanager
def _log_lines() -> Iterator[None]:
    """Write the lines of the packages to standard error, each with its time and level; libraries are silent."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    ours = logging.getLogger("heatlens_cli")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ours.removeHandler(handler)
