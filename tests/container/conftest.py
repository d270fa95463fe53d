"""Build the image once, and print measured facts at the end of the run."""

from collections.abc import Callable

import pytest

from tests.container import docker

Fact = Callable[[str], None]
_facts: list[str] = []


@pytest.fixture(scope="session", autouse=True)
def daemon() -> None:
    """Skip every test here without a daemon."""
    if reason := docker.unavailable():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def image(daemon: None) -> str:
    del daemon
    return docker.build()


@pytest.fixture
def fact() -> Fact:
    """Collect a line that is printed at the end of the run."""
    return _facts.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _facts:
        terminalreporter.write_line(line)
