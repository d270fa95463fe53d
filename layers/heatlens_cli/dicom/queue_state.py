"""Run `heatlens dicom status` and `retry`: look into the queue of a watch file, and put back what failed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from heatlens_cli.console import complain, say
from heatlens_cli.dicom.disk_queue import DONE, FAILED, WAITING, DiskQueue
from heatlens_cli.dicom.watch_file import read_watch_file


def print_status(path: Path) -> None:
    """Print the counts of the queue, and each instance that failed with its reason.

    Raises:
        BadWatchFile: The file is wrong.
    """
    queue = DiskQueue(read_watch_file(path).queue.folder)
    say(", ".join(f"{queue.count(state)} {state}" for state in (WAITING, FAILED, DONE)))
    for entry in queue.failed():
        at = datetime.fromtimestamp(entry.due, UTC).astimezone()
        say(f"{entry.instance}  {at:%Y-%m-%d %H:%M}  {entry.reason}")


def put_back(path: Path, instances: Sequence[str]) -> int:
    """Let instances that failed wait again, by default all; a running watcher takes them up by itself.

    Returns:
        The exit status: 1 if one that is named has not failed.

    Raises:
        BadWatchFile: The file is wrong.
    """
    queue = DiskQueue(read_watch_file(path).queue.folder)
    failed = {entry.instance: entry for entry in queue.failed()}
    for instance in instances or failed:
        if instance in failed:
            queue.put_back(failed[instance])
        else:
            complain(f"{instance}: has not failed: heatlens dicom status {path} lists what has")
    count = len(failed.keys() & set(instances or failed))
    say(f"{count} of {len(failed)} wait again")
    return int(count < len(set(instances)))
