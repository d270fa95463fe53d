"""Fixtures for all tests: models, a sample, a running server, an AWS account in memory, and what is logged."""

import logging
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from heatlens.model import Model, load_model
from heatlens.settings import DEMO_MODEL
from heatlens_web.server_logs import OURS
from infra.local_account import CREDENTIALS
from tests.support.aws import Account, account
from tests.support.colors import write_colors_model
from tests.support.local_server import local_server
from tests.support.paths import SAMPLES
from tests.support.private import Net, leaks, log_lines
from tests.support.tiny import write_tiny_model

# The same cases in every run, and a busy machine is not a failure.
settings.register_profile("heatlens", deadline=None, derandomize=True)
settings.load_profile("heatlens")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Let SIGINT end the processes that tests start: a shell starts a background job with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> Model:
    return load_model(tiny_folder)


@pytest.fixture(scope="session")
def colours_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colors_model(tmp_path_factory.mktemp("models") / "colours")


@pytest.fixture(scope="session")
def colours_model(colours_folder: Path) -> Model:
    return load_model(colours_folder)


@pytest.fixture(scope="session")
def demo_model() -> Model:
    return load_model(DEMO_MODEL)


@pytest.fixture(scope="session")
def sample_jpeg() -> bytes:
    return (SAMPLES / "phantom-03-opacity.jpg").read_bytes()


@pytest.fixture(scope="session")
def server_port() -> Iterator[int]:
    """Run `heatlens serve` on a free port until the session ends; yield the port."""
    with local_server() as port:
        yield port


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """Provide an empty AWS account in memory."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with account() as empty:
        yield empty


@pytest.fixture(scope="session", autouse=True)
def _net() -> Net:
    """Collect what the packages log in every test, at the level of production."""
    net = Net()
    logging.getLogger().addHandler(net)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    return net


@pytest.fixture(autouse=True)
def _private_logs(_net: Net) -> Iterator[None]:
    """Fail a test whose logs hold names, links or bodies; `tests/support/private.py` says what is meant."""
    _net.lines.clear()
    yield
    assert [line for line in _net.lines if leaks(line)] == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that prints a record or a metric with such text."""
    report = yield
    leaked = [line for line in log_lines(report.capstdout + report.capstderr) if leaks(line)]
    if call.when == "call" and report.passed and leaked:
        report.outcome, report.longrepr = "failed", f"the log holds {leaks(leaked[0])}: {leaked[0][:500]}"
    return report


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """Collect every log record, of any level, that reaches the root logger."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    lines: list[str] = []
    root, collector, level = logging.getLogger(), Collector(), logging.getLogger().level
    root.addHandler(collector)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(collector)
    root.setLevel(level)
