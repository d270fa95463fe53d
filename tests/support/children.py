"""Run a program in a Python process of its own: what it loads and opens is then nobody else's."""

import os
import subprocess
import sys
from collections.abc import Mapping

from tests.support.paths import ROOT


def printed(program: str, environment: Mapping[str, str] | None = None) -> str:
    """Return what a program prints, without the line end; fail with its errors if it fails."""
    environ = os.environ | dict(environment or {})
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
