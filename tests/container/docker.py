"""Run the docker command: build images from this checkout, run containers until a block ends."""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.emulator import EMULATOR
from tests.support.paths import ROOT

TAG = "heatlens:test"
MODEL_DIR = "layers/heatlens/models/demo"
# As Lambda runs an image: only /tmp is writable, no root, no capabilities.
HARDENED = (
    "--read-only",
    "--tmpfs",
    "/tmp",
    "-u",
    "993:990",
    "--cap-drop",
    "ALL",
    "--memory",
    "3008m",
    "--cpus",
    "1.7",
)
NO_NETWORK = ("--network", "none")
_INVOKE = """
import json, sys, urllib.request
for line in sys.stdin:
    with urllib.request.urlopen(sys.argv[1], line.encode(), timeout=120) as answer:
        print(json.dumps(json.load(answer)))
"""
_FUNCTION = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"


def docker(*words: str, text: str | None = None) -> str:
    """Run a docker command and return its output; for `logs` also standard error, because containers log to both."""
    done = subprocess.run(["docker", *words], cwd=ROOT, input=text, capture_output=True, check=False, text=True)
    assert done.returncode == 0, f"docker {words[0]}: {(done.stdout + done.stderr)[-2000:]}"
    return done.stdout + (done.stderr if words[0] == "logs" else "")


def unavailable() -> str | None:
    """Return why there is no daemon to test with, or None."""
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, check=False, text=True)
    except FileNotFoundError:
        return "there is no docker command"
    return None if done.returncode == 0 else f"no Docker daemon answers: {done.stderr.strip().splitlines()[-1]}"


def build(tag: str = TAG, *, target: str = "cpu", model_dir: str = MODEL_DIR, cached: bool = True) -> str:
    """Build a target and return its tag."""
    words = ["build", "--quiet", "--file", "infra/Dockerfile", "--target", target, "--tag", tag]
    arguments = ["--build-arg", f"MODEL_DIR={model_dir}", "--build-arg", f"BASE_IMAGE={base_image()}"]
    docker(*words, *arguments, *([] if cached else ["--no-cache"]), ".")
    return tag


def base_image() -> str:
    """Return the image that builds start from: by digest, or where it cannot be pulled the local one of its tag."""
    return subprocess.run(
        [ROOT / "infra" / "base-image.sh"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def config(image: str) -> dict[str, Any]:
    """Return an image's configuration."""
    [described] = json.loads(docker("image", "inspect", image))
    configuration: dict[str, Any] = described
    return configuration


@dataclass(frozen=True, slots=True)
class Container:
    """A container that runs or has run."""

    id: str

    @property
    def logs(self) -> str:
        return docker("logs", self.id)

    @property
    def exit_code(self) -> int:
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", self.id))

    @property
    def running(self) -> bool:
        return docker("inspect", "--format", "{{.State.Running}}", self.id).strip() == "true"

    @property
    def port(self) -> int:
        """The local port at which its port 8080 is published."""
        return int(docker("port", self.id, "8080/tcp").splitlines()[0].rpartition(":")[2])

    def python(self, program: str, *words: str, text: str = "") -> str:
        """Run a Python program in the container."""
        return docker("exec", "-i", self.id, "/opt/venv/bin/python", "-c", program, *words, text=text)

    def invoke(self, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send events to the emulator in the container, one after the other."""
        lines = "".join(json.dumps(event) + "\n" for event in events)
        return [json.loads(line) for line in self.python(_INVOKE, _FUNCTION, text=lines).splitlines()]

    def wait(self, text: str, *, seconds: float = 60) -> str:
        """Wait for a text in the log and return the log.

        Raises:
            AssertionError: The text does not come in time.
        """
        until = time.monotonic() + seconds
        while text not in (log := self.logs):
            assert time.monotonic() < until, log[-4000:]
            time.sleep(0.1)
        return log


@contextmanager
def container(image: str, *options: str, command: Sequence[str] = ()) -> Iterator[Container]:
    """Run a container until the block ends."""
    made = Container(docker("run", "--detach", *options, image, *command).strip())
    try:
        yield made
    finally:
        docker("rm", "--force", "--volumes", made.id)


@contextmanager
def function(image: str, handler: str, *options: str) -> Iterator[Container]:
    """Run a handler under Lambda's emulator, with the limits of Lambda."""
    emulator = ("--volume", f"{EMULATOR}:/rie:ro", "--entrypoint", "/rie", "-e", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=3008")
    words = ("--log-level", "info", "/opt/heatlens/entrypoint.sh", handler)
    with container(image, *HARDENED, *NO_NETWORK, *emulator, *options, command=words) as made:
        made.wait("exec '/opt/heatlens/entrypoint.sh'")
        yield made


@contextmanager
def endpoint(image: str, *options: str) -> Iterator[Container]:
    """Run the SageMaker server, published on a free local port."""
    with container(image, *HARDENED, "--publish", "127.0.0.1::8080", *options, command=["serve"]) as made:
        made.wait("listening on http://")
        yield made
