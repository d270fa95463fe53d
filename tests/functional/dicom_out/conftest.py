"""The demo model, which finds the opacity of the phantoms."""

from collections.abc import Iterator

import pytest

from heatlens.explainer import Explainer


@pytest.fixture(scope="session")
def explainer() -> Iterator[Explainer]:
    with Explainer.load() as loaded:
        yield loaded
