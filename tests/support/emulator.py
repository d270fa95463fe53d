"""Run a handler under Lambda's runtime interface emulator."""

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
    """A running emulator; the function's output goes to `output`, the emulator's log to `log`."""

    url: str
    output: Path
    log: Path

    def invoke(self, event: bytes) -> bytes:
        """Send an event and return the answer; urllib raises if the runtime reports an error."""
        with urllib.request.urlopen(self.url, event, timeout=60) as response:
            answer: bytes = response.read()
        return answer


@contextmanager
def emulated(handler: str, folder: Path, environment: dict[str, str]) -> Iterator[Emulator]:
    """Run a handler until the block ends; it is imported at the first invocation."""
    assert EMULATOR.exists(), "run `make dev`: it fetches the emulator"
    port, runtime = free_port(), free_port()
    addresses = [f"--runtime-interface-emulator-address=127.0.0.1:{port}", f"--runtime-api-address=127.0.0.1:{runtime}"]
    command = [str(EMULATOR), *addresses, sys.executable, "-m", "awslambdaric", handler]
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
    emulator = Emulator(url, folder / "output", folder / "log")
    with emulator.output.open("wb") as output, emulator.log.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=output, stderr=log, start_new_session=True
        )
    try:
        wait_for(port)
        yield emulator
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the emulator and the runtime it started
        process.wait()


def free_port() -> int:
    """Find a free local port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Wait until a process listens on a port."""
    for _ in range(300):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"no process listens on port {port}")
