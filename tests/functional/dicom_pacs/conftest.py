"""An Orthanc with a watcher beside it, and the demo model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from heatlens.explainer import Explainer
from tests.support.orthanc import Orthanc, running_orthanc


@pytest.fixture(scope="session")
def explainer() -> Iterator[Explainer]:
    with Explainer.load() as loaded:
        yield loaded


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path / "orthanc") as running:
        yield running
