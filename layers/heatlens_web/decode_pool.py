"""Decode large images in other processes, where their decoder would stop the server.

Some decoders hold Python's lock until they are done: no request is answered meanwhile, not even a health check.
Decision 21 has the measurements. A process can also be ended, which a thread cannot.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import LifoQueue
from typing import Any

from heatlens.errors import HeatlensError, OutOfTime, UnreadableImage
from heatlens.input.decode import decode, measure
from heatlens.input.jpeg2000 import START_OF_CODESTREAM
from heatlens.types import Picture
from heatlens_web import decode_worker
from heatlens_web.errors import DecoderUnavailable

logger = logging.getLogger(__name__)

APART_PIXELS = 500_000  # from which on an image is decoded in another process; fewer are done in 0.1 s
_PROGRAM = f"from {decode_worker.__name__} import main; main()"
# Their decoders release Python's lock, and take no longer than their pixels allow.
_IN_PROCESS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")


class DecodePool:
    """Processes that decode one image at a time each; one that ends or is ended is replaced."""

    def __init__(self, *, processes: int, deadline_s: float) -> None:
        """Start no process yet: each begins with its first image, or with `start`.

        Args:
            processes: Images decoded at once; further ones wait.
            deadline_s: Seconds for one image, after which its process is ended.
        """
        self._deadline_s = deadline_s
        self._workers = [_Worker() for _ in range(processes)]
        self._idle: LifoQueue[_Worker] = LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)
        weakref.finalize(self, _end_all, self._workers)

    def start(self) -> None:
        """Start the processes; they load their libraries while the caller goes on.

        One that cannot be started now is logged, and started with its first image.
        """
        for worker in self._workers:
            try:
                worker.start()
            except DecoderUnavailable:
                logger.exception("a process that decodes images could not be started")

    @property
    def process_ids(self) -> list[int]:
        """The processes that run."""
        return [worker.process_id for worker in self._workers if worker.process_id is not None]

    def decode(self, data: bytes, *, max_pixels: int, **options: Any) -> Picture:  # noqa: ANN401 - those of `decode`
        """Decode an image, in another process where that is better; arguments and errors are those of `decode`.

        Raises:
            OutOfTime: It took too long.
            DecoderUnavailable: The process cannot be started.
            UnreadableImage: Its decoder crashed.
            MemoryError: The system ended the process, for want of memory.
        """
        options["max_pixels"] = max_pixels
        if not _is_apart(data, max_pixels):
            return decode(data, **options)
        with self._worker() as worker:
            return worker.decode(data, options, self._deadline_s)

    @contextmanager
    def _worker(self) -> Iterator["_Worker"]:
        worker = self._idle.get()
        try:
            yield worker
        finally:
            self._idle.put(worker)


class _Worker:
    """One process and the connection to it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None

    @property
    def process_id(self) -> int | None:
        """The process, where it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def decode(self, data: bytes, options: dict[str, Any], deadline_s: float) -> Picture:
        """Decode an image in the process."""
        connection = self.start()
        with self._ended_after(deadline_s) as too_long:
            try:
                connection.send((data, options))
                outcome = decode_worker.receive(connection)
            except (EOFError, OSError):
                exit_code = self.end(wait=True)
                raise _too_long(deadline_s) if too_long.is_set() else _reason(exit_code) from None
            except BaseException:
                self.end()  # what is left of the response must not be read as the next one
                raise
        if too_long.is_set():
            self.end()  # it was killed, or will be, after its response had been read
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @contextmanager
    def _ended_after(self, deadline_s: float) -> Iterator[threading.Event]:
        """Kill the process after a time, unless the context ends before; the event is set then."""
        assert self._process is not None, "it has been started"
        process, too_long = self._process, threading.Event()

        def kill() -> None:
            too_long.set()
            process.kill()

        timer = threading.Timer(deadline_s, kill)
        timer.start()
        try:
            yield too_long
        finally:
            timer.cancel()

    def start(self) -> "Connection[Any, Any]":
        """Return a connection to the process, which is started where it does not run.

        Raises:
            DecoderUnavailable: The system refuses it, for want of descriptors, processes or memory.
        """
        if self._connection is None or self.process_id is None:
            self.end()
            try:
                self._connection, self._process = _connected_process()
            except OSError as error:
                raise DecoderUnavailable from error
        return self._connection

    def end(self, *, wait: bool = False) -> int:
        """Close the connection, end the process, or wait until it has ended by itself; return its exit code."""
        if self._connection is None or self._process is None:
            return 0
        self._connection.close()
        if not wait:
            self._process.kill()
        exit_code = self._process.wait()
        self._connection = self._process = None
        return exit_code


def _connected_process() -> "tuple[Connection[Any, Any], subprocess.Popen[bytes]]":
    ours, theirs = Pipe()
    with theirs:
        try:
            return ours, _start_process(theirs.fileno())
        except OSError:
            ours.close()
            raise


def _start_process(descriptor: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - this interpreter, with a module of ours
        [sys.executable, "-P", "-c", _PROGRAM, str(descriptor)],
        stdin=subprocess.DEVNULL,
        pass_fds=(descriptor,),  # and no other: a listening socket would keep its port in use
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        process_group=0,  # a terminal's Ctrl-C reaches the server alone
    )


def _end_all(workers: Iterable[_Worker]) -> None:
    for worker in workers:
        worker.end()


def may_be_jpeg_2000(data: bytes) -> bool:
    """Whether an image is JPEG 2000, or a container that may hold it."""
    return not data.startswith(_IN_PROCESS) and START_OF_CODESTREAM in data


def _is_apart(data: bytes, max_pixels: int) -> bool:
    if data.startswith(_IN_PROCESS):
        return False
    if may_be_jpeg_2000(data):
        return True  # its work depends on more than its pixels
    try:
        return measure(data, max_pixels=max_pixels) >= APART_PIXELS
    except HeatlensError:
        return False  # decoding raises it again


def _too_long(deadline_s: float) -> OutOfTime:
    return OutOfTime(f"decoding the image took longer than {deadline_s:g} s: send it in a simpler format")


def _reason(exit_code: int) -> Exception:
    """Return the error of an image whose process has ended with a code, below 0 by a signal."""
    logger.error("a process that decoded an image has ended: exit code %d", exit_code)
    if exit_code == -signal.SIGKILL:
        return MemoryError("the process that decoded the image was killed")
    if exit_code < 0:
        return UnreadableImage("the image is damaged: its decoder crashed")
    return HeatlensError("the process that decodes images ended")
