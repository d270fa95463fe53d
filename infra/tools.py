"""Run a tool from its own virtual environment, because each pins a boto3 that conflicts with the project's.

`python infra/tools.py sam validate --lint` installs the SAM CLI in .venv-sam the first time, then runs it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.environments import install

ROOT = Path(__file__).parents[1]
PACKAGES = {"checkov": "checkov", "sam": "aws-sam-cli"}
QUIET = {"SAM_CLI_TELEMETRY": "0"}  # no telemetry
DEFAULTS = {"AWS_DEFAULT_REGION": "us-east-1"}


def ready(name: str) -> Path:
    """Install a tool unless it is installed.

    Returns:
        The path of its command.
    """
    python = install(ROOT / f".venv-{name}", ROOT / "infra" / f"{name}-constraints.txt", [PACKAGES[name]])
    return python.with_name(name)


def main(words: Sequence[str]) -> None:
    """Replace this process by the tool; without arguments only install it."""
    name, *rest = words
    if name not in PACKAGES:
        sys.exit(f"no such tool: {name}; there are {', '.join(PACKAGES)}")
    command = ready(name)
    if rest:
        os.execve(command, [str(command), *rest], DEFAULTS | os.environ | QUIET)  # noqa: S606 - the caller's own command


if __name__ == "__main__":
    main(sys.argv[1:])
