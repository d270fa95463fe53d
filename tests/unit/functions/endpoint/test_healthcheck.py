from pathlib import Path

import pytest

from functions.endpoint import healthcheck
from heatlens_web.port import PORT_ENV
from tests.support.emulator import free_port

SERVER = b"/opt/venv/bin/python\0-m\0functions.endpoint.serve\0"
LAMBDA = b"/opt/venv/bin/python\0-m\0awslambdaric\0functions.api.handler.handler\0"


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that stands for the command line of the container's first process; nothing listens on its port."""
    path = tmp_path / "cmdline"
    monkeypatch.setattr(healthcheck, "Path", lambda _: path)
    monkeypatch.setenv(PORT_ENV, str(free_port()))
    return path


def test_a_server_that_does_not_answer_is_unhealthy(process: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process.write_bytes(SERVER)

    assert healthcheck.main() == 1
    assert "/ping" in capsys.readouterr().out


def test_a_lambda_function_gets_no_ping(process: Path) -> None:
    process.write_bytes(LAMBDA)

    assert healthcheck.main() == 0


def test_a_server_that_answers_is_healthy(process: Path, server_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    process.write_bytes(SERVER)
    monkeypatch.setattr(healthcheck, "ping_url", lambda _: f"http://127.0.0.1:{server_port}/api/inference/ready")

    assert healthcheck.main() == 0
