"""The SageMaker endpoint's port, in a module that costs nothing to import: the health check runs every 30 s."""

from collections.abc import Mapping

PORT_ENV = "HEATLENS_PORT"
DEFAULT_PORT = 8080  # SageMaker's


def listening_port(environ: Mapping[str, str]) -> int:
    """Return the port that a server with this environment listens on."""
    return int(environ.get(PORT_ENV, DEFAULT_PORT))
