"""Run several servers on one port: each is a process with a model of its own, and one that dies is replaced."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from heatlens.engines.resources import read_machine
from heatlens_cli.console import complain

QUICK_S = 10.0  # a worker that lives no longer did not start
QUICK_DEATHS = 3  # in a row, after which the others are ended too
WATCHED = {signal.SIGCHLD, signal.SIGINT, signal.SIGTERM}
PARENT_ENV = "HEATLENS_PARENT"


def run_workers(listener: socket.socket, count: int, words: Sequence[str]) -> int:
    """Run servers until SIGTERM or SIGINT, which each of them receives as SIGTERM.

    Args:
        listener: The socket that all of them accept connections from.
        count: How many.
        words: Further options of `heatlens serve`.

    Returns:
        The exit status: 0, or the worst of the servers' own.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    environ = {**os.environ, PARENT_ENV: str(os.getpid()), **_share_of_threads(count)}

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "heatlens_cli", "serve", "--fd", str(listener.fileno()), *words]
        # A session of its own: Ctrl-C reaches this process alone, and each worker once.
        return subprocess.Popen(  # noqa: S603 - this program
            command, pass_fds=[listener.fileno()], env=environ, start_new_session=True
        )

    workers = {start(): time.monotonic() for _ in range(count)}
    status, deaths, stopping = 0, 0, False
    while workers:
        received = signal.sigwait(WATCHED)
        if received != signal.SIGCHLD:
            stopping = True
            _end(workers)
        for worker in [worker for worker in workers if worker.poll() is not None]:
            lived = time.monotonic() - workers.pop(worker)
            if stopping:
                status = max(status, worker.returncode)
                continue
            deaths = deaths + 1 if lived < QUICK_S else 0
            if deaths == QUICK_DEATHS:
                complain(f"{deaths} servers in a row ended within {QUICK_S:.0f} s, the last with {worker.returncode}")
                stopping, status = True, max(1, worker.returncode)
                _end(workers)
                continue
            complain(f"a server ended with {worker.returncode}: another replaces it")
            workers[start()] = time.monotonic()
    return abs(status)


def end_with_parent() -> None:
    """In a worker: receive signals, and end in order when the process that started it has gone."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
    parent = os.environ.get(PARENT_ENV)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _share_of_threads(count: int) -> dict[str, str]:
    """Share the processors among the servers, unless a setting says how many threads each has."""
    if os.environ.get("HEATLENS_THREADS"):
        return {}
    return {"HEATLENS_THREADS": str(max(1, read_machine().parallel // count))}


def _end(workers: dict[subprocess.Popen[bytes], float]) -> None:
    for worker in workers:
        worker.terminate()
