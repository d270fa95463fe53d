"""The image, built once, and the facts that a run prints at its end."""

from collections.abc import Callable

import pytest

from tests.container import docker

Fact = Callable[[str], None]
_facts: list[str] = []


@pytest.fixture(scope="session", autouse=True)
def daemon() -> None:
    """Every test here needs one."""
    if reason := docker.trouble():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def image(daemon: None) -> str:
    del daemon
    return docker.build()


@pytest.fixture
def fact() -> Fact:
    """Takes a line that is printed at the end of the run."""
    return _facts.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _facts:
        terminalreporter.write_line(line)
