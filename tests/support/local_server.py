"""Run `heatlens serve` on a free port."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from os import environ

from tests.support.paths import HEATLENS


@contextmanager
def local_server(**settings: str) -> Iterator[int]:
    """Serve with these environment variables for the duration of the block; yield the port."""
    server = subprocess.Popen(
        [HEATLENS, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True, env=environ | settings
    )
    assert server.stdout is not None
    line = server.stdout.readline()
    try:
        match = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert match, f"the server printed {line!r}"
        yield int(match[1])
    finally:
        server.terminate()
        server.communicate(timeout=30)
