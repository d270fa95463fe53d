"""Exit 0 if this container responds: the SageMaker endpoint to a ping; a Lambda function has no server to check."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from heatlens_web.port import listening_port

SERVER = b"functions.endpoint.serve"


def ping_url(environ: Mapping[str, str]) -> str:
    """Return the address of the server's ping."""
    return f"http://127.0.0.1:{listening_port(environ)}/ping"


def main() -> int:
    """Send a ping if the container's first process is the server, and return the exit code."""
    if SERVER not in Path("/proc/1/cmdline").read_bytes():
        return 0
    url = ping_url(os.environ)
    try:
        with urllib.request.urlopen(url, timeout=4):  # noqa: S310 - the scheme is fixed
            return 0
    except (urllib.error.URLError, OSError) as error:
        print(f"{url}: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
