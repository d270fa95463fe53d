"""An account on two servers: bucket and queue on LocalStack, which checks signatures, and the table on moto's."""

import logging
import os
import uuid
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from functions.batch import requeue
from heatlens.model import Model
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.object_keys import Lane
from heatlens_aws.staging import Staging
from infra import local_account
from infra.localstack import URL_ENV
from tests.staging.poller import Poller
from tests.support.aws import Account
from tests.support.staged import Staged, desk

HERE = "tests/staging/"
MISSING = f"no address of a LocalStack in {URL_ENV}: run `make test-staging`"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line instead of one per skipped test."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if report.nodeid.startswith(HERE)]
    if skipped and URL_ENV not in os.environ:
        terminalreporter.write_line(f"{HERE}: {len(skipped)} skipped: {MISSING}")


@pytest.fixture(scope="session")
def localstack() -> str:
    """The address of a running LocalStack."""
    if URL_ENV not in os.environ:
        pytest.skip(MISSING)
    return os.environ[URL_ENV]


@pytest.fixture(scope="session")
def tables(localstack: str) -> Iterator[str]:
    """The address of a DynamoDB: LocalStack without its containers has none."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with local_account.atomic_table():
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def services(localstack: str, tables: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point every client of this process and its children to the two servers."""
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",  # the only one that LocalStack knows
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": localstack,
        "AWS_ENDPOINT_URL_SQS": localstack,
        "AWS_ENDPOINT_URL_DYNAMODB": tables,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def local(services: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[local_account.LocalAccount]:
    """An empty account, set up as the local one, under its own names."""
    mark = uuid.uuid4().hex[:8]
    for name in ("BUCKET", "TABLE"):
        monkeypatch.setattr(local_account, name, f"{getattr(local_account, name)}-{mark}")
    for lane, queue in dict(local_account.QUEUES).items():
        monkeypatch.setitem(local_account.QUEUES, lane, f"{queue}-{mark}")
    account = local_account.wired("")
    for name in ("BUCKET", "TABLE", "INTERACTIVE_QUEUE_URL", "BULK_QUEUE_URL"):
        monkeypatch.setenv(f"HEATLENS_{name}", account.environment[f"HEATLENS_{name}"])
    yield account
    for client in (account.clients.s3, account.clients.sqs, account.clients.dynamodb):
        client.close()


@pytest.fixture
def aws(local: local_account.LocalAccount) -> Account:
    settings, clients = local.settings, local.clients
    return Account(
        settings, clients, BatchTable(clients.dynamodb, settings.table), Staging(clients.s3, settings.bucket)
    )


@pytest.fixture
def staged(aws: Account, tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> Staged:
    """A worker behind the function's handler; returned messages are redelivered after a second."""
    from functions.batch import handler  # it opens the account at import

    made = desk(aws, tiny_model)
    monkeypatch.setattr(handler, "worker_context", made.context)
    monkeypatch.setattr(requeue, "FIRST_DELAY_S", 1)
    return made


@pytest.fixture
def bulk(staged: Staged) -> Poller:
    """A poller of the lane of dropped objects."""
    from functions.batch import handler

    return Poller(staged.aws, handler.handler, Lane.BULK)


@pytest.fixture
def poller(staged: Staged) -> Poller:
    from functions.batch import handler

    return Poller(staged.aws, handler.handler)
