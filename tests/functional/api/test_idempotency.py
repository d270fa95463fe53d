"""`POST /batches` may be repeated with its Idempotency-Key, and stays within the principal's quota."""

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from heatlens_aws.batch_table import BatchTable
from heatlens_aws.creation import Creation, Creations
from heatlens_aws.records import FileState
from heatlens_web.batches import service
from tests.functional.api.test_bad_input import problem
from tests.functional.api.test_batches import URL, caller, digest, half_done, opened, row, states
from tests.functional.conftest import MakeClient
from tests.support.aws import Account

KEY = {"idempotency-key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


@pytest.fixture
def staged(aws: Account, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A client of a server with staging and quotas, whose counts are never cached."""
    monkeypatch.setenv("HEATLENS_BUCKET", aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", aws.settings.table)
    monkeypatch.setenv("HEATLENS_OWNER_BATCHES", "3")
    monkeypatch.setenv("HEATLENS_OWNER_FILES", "20")
    monkeypatch.setattr(service, "COUNTS_LIVE_S", 0.0)
    return make_client()


def post(client: TestClient, headers: dict[str, str] = KEY, **body: object) -> Any:  # noqa: ANN401 - httpx's
    return client.post(URL, json=body or {"expected_files": 2}, headers=headers)


def batches(aws: Account) -> int:
    return sum(row["SK"]["S"] == "META" for row in aws.clients.dynamodb.scan(TableName=aws.settings.table)["Items"])


def row_keys(aws: Account) -> list[dict[str, Any]]:
    rows = aws.clients.dynamodb.scan(TableName=aws.settings.table)["Items"]
    return [{"PK": row["PK"], "SK": row["SK"]} for row in rows]


def test_a_repeated_request_gets_the_first_answer(staged: TestClient, aws: Account) -> None:
    first = post(staged)
    staged.post(f"{URL}/{first.json()['batch_id']}/close")

    for again in (post(staged), post(staged, {"Idempotency-Key": f'"{KEY["idempotency-key"]}"'})):
        assert (again.status_code, again.json()) == (201, first.json())
    assert batches(aws) == 1
    assert post(staged, {}).json()["batch_id"] != first.json()["batch_id"]


@pytest.mark.provokes("idempotency.key_reused")
def test_another_body_with_the_same_key_is_refused(staged: TestClient, aws: Account) -> None:
    post(staged)

    problem(post(staged, expected_files=3), 422, "idempotency.key_reused")
    problem(post(staged, expected_files=2, alpha=0.5), 422, "idempotency.key_reused")
    assert batches(aws) == 1


def test_keys_of_two_principals_do_not_meet(staged: TestClient) -> None:
    app = staged.app
    assert isinstance(app, FastAPI)

    assert len({post(caller(app, who)).json()["batch_id"] for who in ("me", "you")}) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "two words"])
def test_a_key_that_is_no_plain_text_is_refused(staged: TestClient, key: str) -> None:
    answer = post(staged, {"idempotency-key": key})

    problem(answer, 422, "request.invalid")
    assert [part.lower() for part in answer.json()["errors"][0]["loc"]] == ["header", "idempotency-key"]


def test_a_repeated_retry_does_what_an_interrupted_one_has_not_done(
    staged: TestClient, aws: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, declare = half_done(staged, aws), BatchTable.declare

    def dies(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(BatchTable, "declare", dies)
    assert post(staged, retry_of=old).status_code == 500
    monkeypatch.setattr(BatchTable, "declare", declare)

    [new] = {post(staged, retry_of=old).json()["batch_id"] for _ in range(2)}

    assert [(file.sha256, file.state) for file in aws.jobs.files(row(aws, new))] == [
        (digest(1), FileState.PENDING),
        (digest(2), FileState.PENDING),
    ]
    assert [stored.key for stored in aws.staging.uploaded(f"in/i/{new}/")] == [f"in/i/{new}/00000"]
    assert batches(aws) == 2


def test_a_repeated_retry_leaves_a_batch_alone_that_was_closed(staged: TestClient, aws: Account) -> None:
    new = post(staged, retry_of=half_done(staged, aws)).json()["batch_id"]
    staged.delete(f"{URL}/{new}")

    again = post(staged, retry_of=row(aws, new).retry_of)

    assert (again.status_code, again.json()["batch_id"]) == (201, new)
    assert states(aws, new) == ["CANCELLED", "CANCELLED"]


def test_a_purge_forgets_the_key(staged: TestClient, aws: Account) -> None:
    batch = post(staged).json()["batch_id"]
    staged.delete(f"{URL}/{batch}?purge=true")

    found = aws.clients.dynamodb.scan(TableName=aws.settings.table)["Items"]
    [key] = [each for each in found if each["PK"]["S"].startswith("I#")]
    assert set(key) == {"PK", "SK", "expires_at"}  # the table removes it
    assert post(staged).json()["batch_id"] != batch


def test_a_purge_leaves_a_key_alone_that_names_another_batch_by_now(staged: TestClient, aws: Account) -> None:
    old = post(staged).json()["batch_id"]
    [key] = [row for row in row_keys(aws) if row["PK"]["S"].startswith("I#")]
    aws.clients.dynamodb.update_item(  # a day passes
        TableName=aws.settings.table,
        Key=key,
        UpdateExpression="SET expires_at = :now",
        ExpressionAttributeValues={":now": {"N": "1"}},
    )
    new = post(staged).json()
    assert new["batch_id"] != old

    assert staged.delete(f"{URL}/{old}?purge=true").status_code == 202

    assert post(staged).json() == new


@pytest.mark.provokes("quota.exceeded")
def test_a_principal_has_so_many_open_batches_and_no_more(staged: TestClient) -> None:
    app = staged.app
    assert isinstance(app, FastAPI)
    me, you = caller(app, "me"), caller(app, "you")
    first = post(me)
    old = [opened(me, 1) for _ in range(2)]

    refused = post(me, {})
    problem(refused, 429, "quota.exceeded")
    assert int(refused.headers["retry-after"]) > 0
    assert post(me).json() == first.json()  # a repetition opens nothing
    assert post(you).status_code == 201
    me.delete(f"{URL}/{old[0]}")
    assert post(me, {}).status_code == 201


def test_a_repetition_at_the_same_time_gets_its_answer_whatever_the_quota(
    staged: TestClient, aws: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request creates the principal's last batch after the second one has looked for it."""
    post(staged, {}), post(staged, {})
    find, looked = Creations.find, list[str]()

    def finds_nothing_yet(creations: Creations, key: str, *, now: int) -> Creation | None:
        looked.append(key)
        if len(looked) == 1:
            first.append(post(staged).json())
            return None
        return find(creations, key, now=now)

    first = list[Any]()
    monkeypatch.setattr(Creations, "find", finds_nothing_yet)
    second = post(staged)

    assert (second.status_code, [second.json()]) == (201, first)
    assert batches(aws) == 3
    problem(post(staged, {"idempotency-key": "another"}), 429, "quota.exceeded")


def test_a_principal_has_so_many_files_in_flight_and_no_more(staged: TestClient, aws: Account) -> None:
    old = half_done(staged, aws)
    opened(staged, 19)

    problem(post(staged, {}, retry_of=old), 429, "quota.exceeded")  # it has two files
    problem(post(staged, {}, expected_files=21), 400, "request.too_many_files")  # would never have room
    assert post(staged, {}, expected_files=1).status_code == 201
