"""Pushing the endpoint's image: a token from the registry, docker's commands in order, the digest at the end."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto import mock_aws

from infra import push_endpoint
from infra.local_account import CREDENTIALS

REPOSITORY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/heatlens"
DIGEST = f"{REPOSITORY}@sha256:{'a' * 64}"
FAKE = f"""#!{sys.executable}
import os, sys
with open(os.environ["FAKE_LOG"], "a") as log:
    given = sys.stdin.read() if sys.argv[1] == "login" else ""
    print(*sys.argv[1:], given, file=log)
if sys.argv[1:3] == ["image", "inspect"]:
    print("elsewhere/heatlens@sha256:0\\n{DIGEST}")
sys.exit(os.environ.get("FAKE_FAILS") == sys.argv[1])
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file in which a stand-in for docker records its calls."""
    fake, log = tmp_path / "docker", tmp_path / "log"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    for name, value in (CREDENTIALS | {"FAKE_LOG": str(log), "PATH": f"{tmp_path}:/usr/bin:/bin"}).items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield log


def test_it_logs_in_pushes_and_names_the_digest(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert push_endpoint.main(["heatlens:cuda", REPOSITORY, "0.1.0"]) == 0

    assert capsys.readouterr().out == f"EndpointImageUri={DIGEST}\n"
    login, tag, push, _ = calls.read_text().splitlines()
    assert login.startswith(
        "login --username AWS --password-stdin https://123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    )
    assert login.split()[-1].endswith("-auth-token")
    assert tag.strip() == f"tag heatlens:cuda {REPOSITORY}:0.1.0"
    assert push.strip() == f"push {REPOSITORY}:0.1.0"


@pytest.mark.parametrize(("fails", "last"), [("login", "login"), ("push", "push")])
def test_push_stops_after_a_refusal(
    calls: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: str, last: str
) -> None:
    monkeypatch.setenv("FAKE_FAILS", fails)

    assert push_endpoint.main(["heatlens:cuda", REPOSITORY, "0.1.0"]) == 1

    assert calls.read_text().splitlines()[-1].startswith(last)
    assert f"docker {fails} ended with 1" in capsys.readouterr().err


def test_rejects_an_address_that_is_not_a_registry(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert push_endpoint.main(["heatlens:cuda", "heatlens", "0.1.0"]) == 1

    assert "'heatlens' is not ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME" in capsys.readouterr().err
    assert not calls.exists()
