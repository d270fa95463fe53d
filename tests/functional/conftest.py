"""Clients of the API on the tiny model."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.support.loop import Loop, running_loop

MakeClient = Callable[..., TestClient]


@pytest.fixture
def make_client(tiny_folder: Path) -> MakeClient:
    """A client of the Lambda function's application; keywords are settings."""

    def make(**settings: object) -> TestClient:
        values = {"model_dir": tiny_folder} | settings
        return TestClient(
            create_app(ServerSettings.model_validate(values), deployment="lambda"), raise_server_exceptions=False
        )

    return make


@pytest.fixture(scope="module")
def app(tiny_folder: Path) -> FastAPI:
    return create_app(ServerSettings(model_dir=tiny_folder), deployment="lambda")


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    """Account, worker, sweeper and API of staged batches on this machine."""
    with running_loop() as loop:
        yield loop


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without waiting."""
    monkeypatch.setattr("heatlens.client.retries.FIRST_WAIT_S", 0.001)
    monkeypatch.setattr("heatlens_cli.batch.send.DECLARE_WAIT_S", 0.001)
