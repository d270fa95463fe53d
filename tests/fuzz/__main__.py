"""Run schemathesis against the plain server on an account in memory: `python -m tests.fuzz`."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local_account import local_account
from tests.support.colors import write_colors_model

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).parent / "schemathesis.toml"
MODEL = "colours"  # what the configuration calls it


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its address, its process's number, and its environment."""

    address: str
    process: int
    environment: dict[str, str]


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Start a server with staging, its log in `folder`."""
    with local_account() as account, (folder / "server.log").open("w") as log:
        environment = os.environ | account.environment | {"HEATLENS_MODEL_DIR": str(write_colors_model(folder / MODEL))}
        command = [str(BIN / "heatlens"), "serve", "--port", "0"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as server:
            assert server.stdout is not None
            try:
                address = re.search(r"http://[0-9.:]+", server.stdout.readline())
                assert address, "the server did not start"
                yield Server(address[0], server.pid, environment)
            finally:
                server.terminate()


def main() -> int:
    """Run schemathesis, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=40, help="generated cases of each operation and phase")
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        words = [BIN / "st", "--config-file", CONFIG, "run", f"{server.address}/openapi.json"]
        words += ["--max-examples", chosen.examples, "--phases", chosen.phases, "--seed", chosen.seed]
        words += ["--checks", "all", "--continue-on-failure", "--no-color"]
        hooks = {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        ended = subprocess.run(list(map(str, words)), env=server.environment | hooks, cwd=folder, check=False)
        if ended.returncode:
            log = (Path(folder) / "server.log").read_text()
            print("\n".join(line for line in log.splitlines() if not line.startswith('{"who"')))
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
