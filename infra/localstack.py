"""Run a command beside LocalStack, whose S3 and SQS check signatures and conditions.

`python infra/localstack.py FOLDER COMMAND...` installs LocalStack in the virtual environment FOLDER, starts it on a
free local port, runs the command with the address in `HEATLENS_LOCALSTACK_URL`, and stops LocalStack.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra.environments import install

URL_ENV = "HEATLENS_LOCALSTACK_URL"
CONSTRAINTS = Path(__file__).with_name("localstack-constraints.txt")
PACKAGES = ("localstack-core[base-runtime]", "moto-ext[s3,sqs]", "service-identity")
SERVICES = ("s3", "sqs")
START_S, STOP_S = 90, 10
LOG_SHOWN = 4000  # characters of its log that are shown if it does not start


class NotStarted(Exception):
    """LocalStack ended or did not answer in time; the text is the end of its log."""


@contextmanager
def running(python: Path) -> Iterator[str]:
    """Run LocalStack on a free port until the block ends; yield its URL.

    Raises:
        NotStarted: LocalStack does not start.
    """
    with tempfile.TemporaryDirectory(prefix="heatlens-localstack-") as state:
        listen = f"127.0.0.1:{_free_port()}"
        log = Path(state) / "log.txt"
        with log.open("wb") as sink:
            process = subprocess.Popen(  # noqa: S603 - fixed words
                [str(python.absolute()), "-m", "localstack.runtime.main"],
                cwd=state,
                env=os.environ | _environment(listen, state),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C must not reach it: it is stopped after the command
            )
        try:
            _wait(process, f"http://{listen}", log)
            yield f"http://{listen}"
        finally:
            _stop(process)


def main(words: Sequence[str]) -> int:
    """Run a command beside LocalStack and return its exit status."""
    folder, *command = words
    try:
        with running(install(Path(folder), CONSTRAINTS, PACKAGES)) as url:
            return _run(command, url)
    except NotStarted as error:
        print(f"LocalStack does not start:\n{error}", file=sys.stderr)
        return 1


def _run(command: Sequence[str], url: str) -> int:
    with subprocess.Popen(command, env=os.environ | {URL_ENV: url}) as process:  # noqa: S603 - the caller's own command
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            raise


def _environment(listen: str, state: str) -> dict[str, str]:
    return {
        "GATEWAY_LISTEN": listen,
        "SERVICES": ",".join(SERVICES),
        "S3_SKIP_SIGNATURE_VALIDATION": "0",
        "DNS_ADDRESS": "0",
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "FILESYSTEM_ROOT": state,
        "TMPDIR": state,  # it uses and removes a folder with a fixed name there
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while not _healthy(url):
        if process.poll() is not None or time.monotonic() > until:
            raise NotStarted(log.read_text(encoding="utf-8", errors="replace")[-LOG_SHOWN:])
        time.sleep(0.2)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_localstack/health", timeout=5) as response:  # noqa: S310 - a local URL
            states = json.load(response)["services"]
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return all(states.get(service) in ("available", "running") for service in SERVICES)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate its process group, and kill it if that takes too long."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            continue
        return


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):  # handle them like Ctrl-C
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
