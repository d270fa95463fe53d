"""Run `heatlens dicom watch` as a process that can be killed and started again."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heatlens.settings import DEMO_MODEL
from heatlens_cli.dicom.disk_queue import DiskQueue
from tests.support.orthanc import PASSWORD, USER, Orthanc, eventually
from tests.support.paths import HEATLENS

RULE = f'[[rule]]\nname = "chest"\nmodality = ["CR", "DX"]\nmodel = "{DEMO_MODEL}"\n'
_END_S = 60


def watch_file(folder: Path, orthanc: Orthanc, rules: str = RULE, *, server: str = "") -> Path:
    """Write the file of a watcher of an Orthanc."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pacs.toml"
    path.write_text(f'[server]\northanc = "{orthanc.url}"\nuser = "{USER}"\npoll_s = 0.2\n{server}\n{rules}')
    return path


class Watch:
    """A watcher of a file; its log lies beside it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.queue = DiskQueue(file.parent / "heatlens-queue")
        self._log = file.parent / "watch.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it watches."""
        before = self.log.count(" watching ")
        environment = os.environ | {"HEATLENS_PACS_PASSWORD": PASSWORD}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [HEATLENS, "dicom", "watch", self.file], stdout=log, stderr=log, env=environment
            )
        eventually(lambda: self._ended() or self.log.count(" watching ") > before, self.log)
        assert not self._ended(), self.log

    @property
    def log(self) -> str:
        """What it has logged, in all its lives."""
        return self._log.read_text() if self._log.exists() else ""

    def kill(self) -> None:
        """End it by SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it by SIGTERM, and return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=_END_S)

    def until_done(self, count: int, *, within_s: float = 60) -> None:
        """Wait until so many instances are done."""
        eventually(lambda: self._ended() or self.queue.count("done") >= count, "not all are done", within_s=within_s)
        assert not self._ended(), self.log

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None


@contextmanager
def watching(file: Path) -> Iterator[Watch]:
    """Run a watcher for the duration of the block."""
    watch = Watch(file)
    watch.start()
    try:
        yield watch
    finally:
        watch.kill()
