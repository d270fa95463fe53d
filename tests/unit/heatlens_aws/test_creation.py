"""A key creates one batch whatever happens, and a principal stays within its quota."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from heatlens_aws.conditional_writes import RetryingClient
from heatlens_aws.creation import KEY_LIFE_S, Creation, Quota, RequestKey, _digest
from heatlens_aws.errors import QuotaExceeded
from heatlens_aws.records import Batch, BatchState, FileState, Progress
from heatlens_aws.tombstones import Tombstone
from tests.support.aws import OPEN_BATCH, Account, lose_an_answer, meet_transactions

KEY = RequestKey.of("me", "a", {"expected_files": 10})
ANY = Quota()


def numbered(number: int, **changes: object) -> Batch:
    return replace(OPEN_BATCH, id=f"01J{number:023d}", **changes)  # type: ignore[arg-type]


def create(aws: Account, batch: Batch, key: RequestKey | None = KEY, quota: Quota = ANY) -> Creation:
    return aws.jobs.creations.create(batch, f"answer {batch.id}", key=key, quota=quota)


def rows(aws: Account) -> Counter[str]:
    """Count the rows by the kind of their key."""
    found = RetryingClient(aws.clients.dynamodb).scan(TableName=aws.settings.table)["Items"]
    return Counter(row["PK"]["S"][0] for row in found)


def test_a_key_creates_one_batch(aws: Account) -> None:
    first = create(aws, numbered(1))

    assert create(aws, numbered(2)) == first == Creation(numbered(1).id, KEY.body, f"answer {numbered(1).id}")
    assert aws.jobs.creations.find(KEY.id, now=OPEN_BATCH.created) == first
    assert rows(aws) == {"B": 1, "I": 1}


def test_requests_at_once_with_one_key_create_one_batch(aws: Account) -> None:
    with ThreadPoolExecutor(6) as pool:
        created = set(pool.map(lambda number: create(aws, numbered(number)).batch, range(6)))

    assert len(created) == 1
    assert rows(aws) == {"B": 1, "I": 1}


def test_a_lost_response_does_not_create_a_second_batch(aws: Account) -> None:
    for number, key in enumerate((KEY, None)):
        lost = lose_an_answer(aws.clients.dynamodb, "TransactWriteItems")

        assert create(aws, numbered(number), key).batch == numbered(number).id
        assert lost
    assert rows(aws) == {"B": 2, "I": 1}


def test_another_principal_or_another_key_creates_its_own() -> None:
    body = {"expected_files": 10}

    assert len({RequestKey.of(who, key, body).id for who in ("me", "you") for key in ("a", "b")}) == 4
    assert RequestKey.of("me", "a", body).body != RequestKey.of("me", "a", {"expected_files": 11}).body
    assert RequestKey.of("me", '"a"', body) == RequestKey.of("me", "a", body)  # as the standard writes it
    assert RequestKey.of("me a", "", body).id != RequestKey.of("me", "a", body).id


def test_a_key_is_remembered_for_a_day(aws: Account) -> None:
    create(aws, numbered(1))
    last, over = OPEN_BATCH.created + KEY_LIFE_S - 1, OPEN_BATCH.created + KEY_LIFE_S

    assert aws.jobs.creations.find(KEY.id, now=last)
    assert aws.jobs.creations.find(KEY.id, now=over) is None
    assert create(aws, numbered(2, created=last)).batch == numbered(1).id
    assert create(aws, numbered(3, created=over)).batch == numbered(3).id  # the table may not have removed the row yet


def test_a_forgotten_key_creates_again(aws: Account) -> None:
    batch = numbered(1, idempotency=KEY.id)
    create(aws, batch)

    aws.jobs.creations.forget(batch)

    assert aws.jobs.creations.find(KEY.id, now=OPEN_BATCH.created) is None
    assert create(aws, numbered(2)).batch == numbered(2).id


def test_the_quota_of_batches_counts_those_that_are_open(aws: Account) -> None:
    quota = Quota(batches=2)
    for number in (1, 2):
        create(aws, numbered(number), None, quota)
    with pytest.raises(QuotaExceeded, match="2 batches are open, of 2"):
        create(aws, numbered(3), None, quota)
    create(aws, numbered(4, owner="you"), None, quota)

    aws.jobs.close(numbered(1).id)
    ended = aws.jobs.batch(numbered(1).id)
    assert ended
    aws.jobs.finish(ended, BatchState.SUCCEEDED, Counter())
    create(aws, numbered(5), None, quota)

    with pytest.raises(QuotaExceeded):
        create(aws, numbered(6), None, quota)
    assert rows(aws) == {"B": 4, "O": 4 + 2}  # and a turn for each principal
    assert len(aws.jobs.creations._names(f"O#{_digest('me')}")) == 2  # the ended batch's row has expired


def test_the_quota_of_files_counts_those_that_have_not_ended(aws: Account) -> None:
    quota = Quota(files=25)
    create(aws, numbered(1), None, quota)
    create(aws, numbered(2), None, quota)
    with pytest.raises(QuotaExceeded, match="20 files are in flight, of 25"):
        create(aws, numbered(3), None, quota)

    aws.jobs.remember(numbered(1).id, Progress(upto=5, counts=Counter({FileState.OK: 4, FileState.FAILED: 1})))
    create(aws, numbered(3), None, quota)
    aws.jobs.close(numbered(2).id)  # before anything was declared: it has no files
    create(aws, numbered(4), None, quota)


@pytest.mark.parametrize("disturb", [lambda _: [], meet_transactions])
def test_creations_at_once_stay_within_the_quota(
    aws: Account, monkeypatch: pytest.MonkeyPatch, disturb: Callable[[object], list[str]]
) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    create(aws, numbered(9), None, Quota(batches=3))
    disturb(aws.clients.dynamodb)
    inner = type(aws.jobs.creations)._counted

    def attempt(number: int) -> bool:
        try:
            create(aws, numbered(number), None, Quota(batches=3))
        except QuotaExceeded:
            return False
        return True

    def overtaken(creations: object, batch: Batch, quota: Quota) -> object:
        counted = inner(creations, batch, quota)  # type: ignore[arg-type]
        if batch.id == numbered(0).id and not others:
            others.extend(attempt(number) for number in (1, 2, 3))  # between its count and its writes
        return counted

    others: list[bool] = []
    monkeypatch.setattr(type(aws.jobs.creations), "_counted", overtaken)

    assert not attempt(0)
    assert others == [True, True, False]
    assert rows(aws)["B"] == 3


def test_a_purged_batch_is_not_counted(aws: Account) -> None:
    quota = Quota(batches=1)
    create(aws, numbered(1), None, quota)
    batch = numbered(1)
    aws.jobs.tombstones.put(Tombstone.of(batch, now=1000, until=2000))

    assert create(aws, numbered(2), None, quota).batch == numbered(2).id


def test_a_batch_that_was_created_is_counted_whatever_its_rows_say_later(aws: Account) -> None:
    """The owner's rows are no counter: deleting the row of an ended batch twice changes nothing."""
    quota = Quota(batches=2)
    create(aws, numbered(1), None, quota)
    for number in (2, 3, 4):
        batch = numbered(number)
        create(aws, batch, None, quota)
        aws.jobs.close(batch.id)
        seen = aws.jobs.batch(batch.id)
        assert seen
        aws.jobs.finish(seen, BatchState.FAILED, Counter())
    create(aws, numbered(5), None, quota)

    with pytest.raises(QuotaExceeded):
        create(aws, numbered(6), None, quota)
