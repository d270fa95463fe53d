"""Lambda's runtime interface emulator around a handler, as a container has it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

EMULATOR = Path(sys.executable).parent / "aws-lambda-rie"  # `make dev` puts it there


@dataclass(frozen=True)
class Emulator:
    """A running one; the function's own output goes to `output`, the emulator's log to `log`."""

    url: str
    output: Path
    log: Path

    def invoke(self, event: bytes) -> bytes:
        """Send an event and give the answer; an error of the runtime is urllib's."""
        with urllib.request.urlopen(self.url, event, timeout=60) as response:
            answer: bytes = response.read()
        return answer


@contextmanager
def emulated(handler: str, folder: Path, environment: dict[str, str]) -> Iterator[Emulator]:
    """Run a handler until the context ends; it starts at its first invocation."""
    assert EMULATOR.exists(), "run `make dev`: it fetches the emulator"
    port, runtime = free_port(), free_port()
    addresses = [f"--runtime-interface-emulator-address=127.0.0.1:{port}", f"--runtime-api-address=127.0.0.1:{runtime}"]
    command = [str(EMULATOR), *addresses, sys.executable, "-m", "awslambdaric", handler]
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
    made = Emulator(url, folder / "output", folder / "log")
    with made.output.open("wb") as output, made.log.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=output, stderr=log, start_new_session=True
        )
    try:
        wait_for(port)
        yield made
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the emulator and the runtime it started
        process.wait()


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(300):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("nobody listens")
