"""Servers with faults, and an image."""

from pathlib import Path

import pytest

from tests.support.images import encoded, noise


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "scan.png"
    path.write_bytes(encoded(noise((48, 64))))
    return path
