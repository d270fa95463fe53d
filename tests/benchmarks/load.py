"""Measure a server under load: `python -m tests.benchmarks.load --out tests/benchmarks/LOAD.md`.

Each row starts `heatlens serve`, or the SageMaker endpoint, in a process of its own, and sends it one scenario.
"""

import argparse
import http.client
import os
import platform
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from heatlens.engines.peak_memory import peak_mib
from heatlens.settings import DEMO_MODEL
from tests.benchmarks.sides import processor_seconds
from tests.support.images import encoded, noise
from tests.support.paths import ROOT
from tests.support.slow_clients import PATHS, Kind, Served, running

SIZE = (512, 512)
SECONDS = 10.0
CLIENTS = (1, 4, 16, 64)
ANNOUNCED = 499_000_000
SATURATING = 16  # clients
ROUNDS = 5
ALL = os.sched_getaffinity(0)
NONE = "-"
FACTS = {"python": platform.python_version(), "processors": os.cpu_count(), "size": SIZE[0]}
ABOUT = """# Servers under load

Written by `make bench-load`; do not edit.

Measured on {date:%Y-%m-%d} for {seconds:g} s each, with Python {python}, on one machine of {processors} processors
that the clients share with the server. Other programs ran too: the mean load was {load:.1f}. Compare rows
with each other; the times are no promise for other machines.

Each client sends an image of {size} by {size} pixels, waits for the response, and sends the next. A client
that is refused waits 50 ms, less than `Retry-After` says. The times are of requests with 200.
*Health* is `ready`, or `/ping` of the endpoint, asked during the same time. *Peak* is the largest resident
memory of the server's process. [server.md](../../functions/server.md) describes the limits.
"""
SATURATION = """## More clients, more processors

One client and {clients} in turn, {rounds} rounds of each, on the same server; medians. *Used* is the processor time of
the server in a second. One client's request already uses a second processor for a part of its time. The
clients take theirs from the same machine.
"""
USES = "| server | processors | 1 client, a second | 16 clients, a second | ratio | used by 1 | used by 16 |"
HEAD = "| server | scenario | requests | p50 ms | p99 ms | statuses | health p99 ms | peak MiB |"


@dataclass
class Measured:
    """What clients saw: milliseconds of the answers with 200, statuses, and milliseconds of health checks."""

    times: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    health: list[float] = field(default_factory=list)

    def row(self, kind: str, scenario: str, peak: float) -> str:
        """Return a row of the table."""
        statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.statuses.items()))
        p50, p99 = (f"{percentile(self.times, share):.0f}" if self.times else NONE for share in (0.5, 0.99))
        health = f"{percentile(self.health, 0.99):.0f}" if self.health else NONE
        count = sum(self.statuses.values())
        return f"| {kind} | {scenario} | {count:,} | {p50} | {p99} | {statuses} | {health} | {peak:.0f} |"


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile of values, the nearest that was measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def ask(served: Served, image: bytes, measured: Measured) -> None:
    """Send one image and record how it was answered."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)
    try:
        connection.request("POST", PATHS[served.kind][1], image, {"content-type": "image/png"})
        response = connection.getresponse()
        response.read()
        measured.statuses[str(response.status)] += 1
        if response.status == http.client.OK:
            measured.times.append((time.perf_counter() - began) * 1000)
        else:
            time.sleep(0.05)  # far less than Retry-After says
    except OSError as error:
        measured.statuses[type(error).__name__] += 1
    finally:
        connection.close()


def check_health(served: Served, measured: Measured) -> None:
    """Ask whether the server is ready, and record the time."""
    began = time.perf_counter()
    assert b" 200 " in served.get()[:20], "it is not ready"
    measured.health.append((time.perf_counter() - began) * 1000)
    time.sleep(0.1)


@contextmanager
def repeated(action: Callable[[], None], threads: int) -> Iterator[None]:
    """Repeat an action on so many threads until the context ends."""
    over = threading.Event()

    def repeat() -> None:
        while not over.is_set():
            action()

    running_threads = [threading.Thread(target=repeat) for _ in range(threads)]
    for thread in running_threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in running_threads:
            thread.join()


@contextmanager
def slow_uploads(served: Served, count: int) -> Iterator[None]:
    """Hold uploads that send a little every half second."""
    clients = [served.begin_upload() for _ in range(count)]

    def send() -> None:
        for client in clients:
            client.send(bytes(4096))
        time.sleep(0.5)

    with repeated(send, 1):
        yield
    close(clients)


@contextmanager
def announced(served: Served, count: int) -> Iterator[None]:
    """Hold clients that announce a large form and send it as fast as the server reads it."""
    clients = [served.connect() for _ in range(count)]
    path = "/api/inference/heatmap-batch"
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + bytes(40 * 1024 * 1024)
    over = threading.Event()

    def send(client: socket.socket) -> None:
        sent = 0
        try:
            client.sendall(f"{head}content-length: {ANNOUNCED}\r\n\r\n".encode())
            while not over.is_set() and sent + len(part) + 2 < ANNOUNCED:
                client.sendall(part + b"\r\n")
                sent += len(part) + 2
        except OSError:
            return  # it was refused

    threads = [threading.Thread(target=send, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        close(clients)
        for thread in threads:
            thread.join()


def close(clients: Sequence[socket.socket]) -> None:
    """Close connections, also those that another thread writes to."""
    for client in clients:
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        client.close()


@contextmanager
def nothing(_: Served, __: int) -> Iterator[None]:
    """Do nothing beside the clients."""
    yield


@dataclass(frozen=True)
class Scenario:
    """Clients that send one image after the other, and others beside them."""

    name: str
    clients: int
    beside: Callable[[Served, int], AbstractContextManager[None]] = nothing
    count: int = 0
    kinds: tuple[Kind, ...] = ("serve", "endpoint")


SCENARIOS = [
    *(Scenario(f"{count} clients" if count > 1 else "1 client", count) for count in CLIENTS),
    Scenario("4 clients, 40 slow uploads", 4, slow_uploads, 40),
    Scenario("1 client, 4 that send 499 MB", 1, announced, 4, ("serve",)),
]


def measure(kind: Kind, scenario: Scenario, *, seconds: float, model: Path) -> str:
    """Run one scenario and return its row."""
    image, measured = encoded(noise(SIZE)), Measured()
    with running(kind, model, HEATLENS_STALL_S="20", HEATLENS_HEAD_S="10", HEATLENS_KEEP_ALIVE_S="75") as served:
        warm_up(served, image)
        with (
            scenario.beside(served, scenario.count),
            repeated(lambda: check_health(served, measured), 1),
            repeated(lambda: ask(served, image, measured), scenario.clients),
        ):
            time.sleep(seconds)
        peak = peak_mib(served.process.pid)
    return measured.row(kind, scenario.name, peak)


def warm_up(served: Served, image: bytes) -> None:
    """Send a few images before anything is measured."""
    for _ in range(3):
        ask(served, image, Measured())


@dataclass
class Use:
    """What one number of clients got: answers a second of each round, and processors that the server used."""

    answers: list[float] = field(default_factory=list)
    processors: list[float] = field(default_factory=list)


def saturate(kind: Kind, processors: int, *, seconds: float, model: Path) -> str:
    """Send images from one client and from many, in turn, to a server on some processors; return the row."""
    image = encoded(noise(SIZE))
    found = {count: Use() for count in (1, SATURATING)}
    with on_processors(processors), running(kind, model) as served:
        os.sched_setaffinity(0, ALL)  # the server keeps those that it was started on
        warm_up(served, image)
        for _ in range(ROUNDS):
            for count, use in found.items():
                measured, began, used = Measured(), time.perf_counter(), processor_seconds(served.process.pid)
                with repeated(partial(ask, served, image, measured), count):
                    time.sleep(seconds / ROUNDS)
                taken = time.perf_counter() - began
                use.answers.append(measured.statuses["200"] / taken)
                use.processors.append((processor_seconds(served.process.pid) - used) / taken)
    one, many = (statistics.median(use.answers) for use in found.values())
    shares = " | ".join(f"{statistics.median(use.processors):.2f}" for use in found.values())
    return f"| {kind} | {processors} | {one:.1f} | {many:.1f} | {many / one:.2f}x | {shares} |"


@contextmanager
def on_processors(count: int) -> Iterator[None]:
    """Let this process, and those that it starts, run on so many processors until the context ends."""
    os.sched_setaffinity(0, sorted(ALL)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, ALL)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all scenarios, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--model", type=Path, default=DEMO_MODEL)
    options = parser.parse_args(arguments)
    rows = [HEAD, "|" + "---|" * HEAD.count(" |")]
    for kind in PATHS:
        for scenario in SCENARIOS:
            if kind in scenario.kinds:
                rows.append(measure(kind, scenario, seconds=options.seconds, model=options.model.resolve()))
                print(rows[-1], flush=True)
    rows += ["", *SATURATION.format(clients=SATURATING, rounds=ROUNDS).splitlines(), ""]
    rows += [USES, "|" + "---|" * USES.count(" |")]
    for kind in PATHS:
        for processors in range(1, len(ALL) + 1):
            rows.append(saturate(kind, processors, seconds=options.seconds, model=options.model.resolve()))
            print(rows[-1], flush=True)
    if options.out:
        options.out.write_text(page(rows, options.seconds))


def page(rows: Sequence[str], seconds: float) -> str:
    """Return the page with the table."""
    load = statistics.fmean(os.getloadavg())
    return "\n".join([ABOUT.format(date=datetime.now(UTC), seconds=seconds, load=load, **FACTS), *rows, ""])


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
