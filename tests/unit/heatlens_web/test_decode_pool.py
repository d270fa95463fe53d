"""Large images are decoded in other processes, with the pictures and errors of `decode`."""

import errno
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from heatlens.errors import EmptyFile, HeatlensError, ImageTooLarge, OutOfTime, UnreadableImage
from heatlens.input.decode import decode
from heatlens.types import Picture
from heatlens_web import decode_worker
from heatlens_web.decode_pool import APART_PIXELS, DecodePool
from heatlens_web.errors import DecoderUnavailable
from heatlens_web.problems import status_of
from tests.support.dicom import compress, dataset, written
from tests.support.images import encoded
from tests.support.paths import ROOT

MOST = 100_000_000
WAIT_S = 60  # after which a test fails
LARGE = 1000, APART_PIXELS // 1000


def gradient(mode: str = "RGB", size: tuple[int, int] = LARGE) -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert(mode)


BMP = encoded(gradient(), "BMP")


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    made = DecodePool(processes=1, deadline_s=WAIT_S)
    yield made
    del made
    gc.collect()  # which ends the processes


def jpeg_2000(side: int) -> bytes:
    """A DICOM file whose pixels are compressed by JPEG 2000."""
    made = dataset(np.asarray(gradient("L", (side, side))))
    compress(made, JPEG2000Lossless)
    return written(made)


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P", "I;16"])
def test_the_picture_is_that_of_decode(pool: DecodePool, mode: str) -> None:
    data = encoded(gradient().convert("L").convert(mode) if mode != "P" else gradient().quantize(8), "TIFF")

    picture = pool.decode(data, max_pixels=MOST, window=(100, 50))

    expected = decode(data, max_pixels=MOST, window=(100, 50))
    assert picture.image.mode == expected.image.mode
    assert picture.image.tobytes() == expected.image.tobytes()
    assert picture.verbatim == expected.verbatim
    assert len(pool.process_ids) == 1


def test_a_picture_of_several_bands_is_whole(pool: DecodePool) -> None:
    data = encoded(gradient("RGB", (3000, 2001)), "BMP")

    picture = pool.decode(data, max_pixels=MOST)

    assert picture.image.tobytes() == decode(data, max_pixels=MOST).image.tobytes()


@pytest.mark.parametrize(
    "data",
    [
        *(encoded(gradient("RGB", (2000, 2000)), kind) for kind in ("PNG", "JPEG", "WEBP")),
        encoded(gradient("RGB", (1000, APART_PIXELS // 1000 - 1)), "BMP"),
    ],
    ids=["PNG", "JPEG", "WebP", "small BMP"],
)
def test_small_images_and_decoders_that_release_the_lock_stay_in_this_process(pool: DecodePool, data: bytes) -> None:
    assert pool.decode(data, max_pixels=MOST).image.tobytes() == decode(data, max_pixels=MOST).image.tobytes()
    assert pool.process_ids == []


@pytest.mark.parametrize(
    ("data", "most", "error"),
    [(BMP[:-1000], MOST, UnreadableImage), (BMP, APART_PIXELS - 1, ImageTooLarge), (b"", MOST, EmptyFile)],
)
def test_errors_are_those_of_decode(pool: DecodePool, data: bytes, most: int, error: type[HeatlensError]) -> None:
    with pytest.raises(error) as expected:
        decode(data, max_pixels=most)

    with pytest.raises(error) as caught:
        pool.decode(data, max_pixels=most)

    assert caught.value.detail == expected.value.detail


def test_an_unforeseen_error_comes_with_the_place_where_it_was_raised(pool: DecodePool) -> None:
    with pytest.raises(TypeError) as caught:
        pool.decode(BMP, max_pixels=MOST, no_such_option=1)

    assert "decode_worker.py" in caught.value.__notes__[0]


def test_an_image_that_takes_too_long_ends_its_process_only() -> None:
    pool = DecodePool(processes=1, deadline_s=1)
    before = stopped(pool)

    with pytest.raises(OutOfTime, match="longer than 1 s"):
        pool.decode(BMP, max_pixels=MOST)

    assert not Path(f"/proc/{before}").exists()
    assert DecodePool(processes=1, deadline_s=WAIT_S).decode(BMP, max_pixels=MOST)


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGKILL, MemoryError), (signal.SIGSEGV, UnreadableImage), (signal.SIGABRT, UnreadableImage)],
)
def test_a_process_that_crashes_is_the_error_of_its_image_only(
    pool: DecodePool, number: signal.Signals, error: type[Exception]
) -> None:
    process = stopped(pool)
    with ThreadPoolExecutor(1) as threads:
        running = decode_in(threads, pool)
        os.kill(process, number)
        os.kill(process, signal.SIGCONT)

        with pytest.raises(error):
            running.result(WAIT_S)

    assert pool.decode(BMP, max_pixels=MOST).image.size == LARGE
    assert pool.process_ids != [process]


def test_a_process_that_ended_between_two_images_is_replaced_unnoticed(pool: DecodePool) -> None:
    process = started(pool)
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)  # until all its threads have ended

    assert pool.decode(BMP, max_pixels=MOST).image.size == LARGE


def started(pool: DecodePool) -> int:
    """Start the pool's only process; return its id once it answers."""
    pool.start()
    pool.decode(BMP, max_pixels=MOST)
    [process] = pool.process_ids
    return process


def stopped(pool: DecodePool) -> int:
    """Start the pool's only process and stop it, as an image does that takes forever."""
    pool.start()
    [process] = pool.process_ids
    os.kill(process, signal.SIGSTOP)
    return process


def decode_in(threads: ThreadPoolExecutor, pool: DecodePool) -> Future[Picture]:
    """Decode in a thread; return once it waits for the process, which must be stopped."""
    begun = threading.Event()

    def work() -> Picture:
        begun.set()
        return pool.decode(BMP, max_pixels=MOST)

    running = threads.submit(work)
    assert begun.wait(WAIT_S)
    [thread] = threads._threads
    for _ in range(WAIT_S * 100):
        if exchanging(thread.ident):
            return running
        time.sleep(0.01)
    raise AssertionError("the thread does not wait for the process")


def exchanging(thread: int | None) -> bool:
    frame = sys._current_frames().get(thread or 0)
    while frame is not None:
        if frame.f_code.co_name in ("send", "recv"):
            return True
        frame = frame.f_back
    return False


def test_other_threads_run_while_jpeg_2000_is_decoded(pool: DecodePool) -> None:
    data = jpeg_2000(4000)
    started(pool)
    decode(data, max_pixels=MOST)  # imports the libraries

    here = ticks_during(lambda: decode(data, max_pixels=MOST))
    apart = ticks_during(lambda: pool.decode(data, max_pixels=MOST))

    assert apart > 3 * here


def ticks_during(work: object) -> int:
    """Count how often another thread runs, every 5 ms where it can."""
    assert callable(work)
    ticks, over = 0, threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not over.wait(0.005):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    work()
    over.set()
    thread.join()
    return ticks


def test_the_process_holds_no_listening_socket_no_engine_and_no_web_framework(pool: DecodePool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = started(pool)
        theirs = {os.readlink(path) for path in Path(f"/proc/{process}/fd").iterdir()}

        assert os.readlink(f"/proc/self/fd/{listener.fileno()}") not in theirs

    loaded = Path(f"/proc/{process}/maps").read_text()
    assert "PIL" in loaded
    assert not [name for name in ("openvino", "torch", "onnxruntime", "boto") if name in loaded]
    program = "import sys, heatlens_web.decode_worker; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    assert not {"openvino", "torch", "fastapi", "starlette", "uvicorn"} & set(modules)


def test_the_process_ends_with_the_pool() -> None:
    pool = DecodePool(processes=2, deadline_s=WAIT_S)
    pool.start()
    processes = pool.process_ids

    del pool
    gc.collect()

    assert len(processes) == 2
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)", "sys.exit()"])
def test_the_process_ends_with_its_server(end: str) -> None:
    program = f"""
        import os, signal, sys
        from heatlens_web.decode_pool import DecodePool
        pool = DecodePool(processes=1, deadline_s=60)
        pool.start()
        print(*pool.process_ids, flush=True)
        sys.stdin.readline()
        {end}
        """
    with subprocess.Popen(
        [sys.executable, "-c", dedent(program)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        process = int(server.stdout.readline())
        server.communicate("\n", timeout=WAIT_S)

    wait_until_gone(process)


def wait_until_gone(process: int) -> None:
    for _ in range(WAIT_S * 10):
        status = Path(f"/proc/{process}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.1)
    raise AssertionError("an orphan is left")


def test_the_process_ends_with_its_server_also_while_its_decoder_holds_the_lock() -> None:
    ours, theirs = socket.socketpair()
    program = """
        import sys, time
        from heatlens_web.decode_worker import _ended_with_the_server
        with _ended_with_the_server(int(sys.argv[1])):
            print("decoding", flush=True)
            time.sleep(600)
        """
    with subprocess.Popen(
        [sys.executable, "-c", dedent(program), str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdout=subprocess.PIPE,
    ) as process:
        theirs.close()
        assert process.stdout is not None
        assert process.stdout.readline() == b"decoding\n"

        ours.close()

        assert process.wait(WAIT_S) == -signal.SIGIO


def test_a_deadline_that_passes_with_the_response_does_not_fail_the_next_image(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DecodePool(processes=1, deadline_s=3)
    receive = decode_worker.receive

    def late(connection: object) -> Picture | Exception:
        outcome = receive(connection)  # type: ignore[arg-type]
        time.sleep(4)
        return outcome

    started(pool)
    with monkeypatch.context() as slow:
        slow.setattr(decode_worker, "receive", late)
        assert pool.decode(BMP, max_pixels=MOST).image.size == LARGE

    assert pool.decode(BMP, max_pixels=MOST).image.size == LARGE


def test_jpeg_2000_of_any_size_is_decoded_apart(pool: DecodePool) -> None:
    for data in (jpeg_2000(64), encoded(gradient("L", (8, 8)), "JPEG2000")):
        pool.decode(data, max_pixels=MOST)
        assert pool.process_ids


@pytest.mark.parametrize("place", ["Pipe", "_start_process"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EAGAIN])
def test_a_process_that_the_system_refuses_is_tried_again_later(
    pool: DecodePool, monkeypatch: pytest.MonkeyPatch, place: str, number: int
) -> None:
    """Without descriptors or memory the server starts, answers 503, and decodes once there are some."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as refused:
        refused.setattr(f"heatlens_web.decode_pool.{place}", refuse)
        before = len(os.listdir("/proc/self/fd"))
        pool.start()
        for _ in range(3):
            with pytest.raises(DecoderUnavailable, match="try again later"):
                pool.decode(BMP, max_pixels=MOST)
        assert len(os.listdir("/proc/self/fd")) == before

    assert pool.decode(BMP, max_pixels=MOST).image.size == LARGE


def test_a_decoder_that_cannot_start_is_answered_with_a_time_to_retry() -> None:
    assert (status_of(DecoderUnavailable), DecoderUnavailable.retryable) == (503, True)
