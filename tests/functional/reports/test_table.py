"""What the table of staged batches does under load: writes that meet a running transaction, throttling."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from heatlens.model import Model
from infra.local_account import CREDENTIALS
from tests.support.aws import WRITES, account, meet_transactions
from tests.support.life import Life, live


def test_no_caller_notices_that_its_first_write_met_a_transaction(
    tiny_model: Model, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API answered 503, and a worker's commit was redelivered: the client library does not retry this error."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    with patch.dict(os.environ, CREDENTIALS), account() as aws:
        life = Life(aws, tiny_model, tiny_folder)
        functions = (life.api, life.batch, life.sweeper)
        refused = [meet_transactions(each.jobs._dynamodb._client) for each in functions]

        live(life)  # checks what every function has done

    assert all("UpdateItem" in each for each in refused)
    assert {operation for each in refused for operation in each} >= WRITES
