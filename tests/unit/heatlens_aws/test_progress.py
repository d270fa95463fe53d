"""Counts read the rows of open files only, and always say what a count of all rows would."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from heatlens_aws import progress
from heatlens_aws.batch_table import Declared
from heatlens_aws.finishing import finish_if_done
from heatlens_aws.progress import Recount, all_ended, recount
from heatlens_aws.records import Batch, BatchState, FileState, Progress, file_key
from tests.support.aws import ID, OPEN_BATCH, Account, count_reads

FILE = Declared("scan.png", 10, "0" * 64, "image/png")
BATCH = replace(OPEN_BATCH, expected=100)
ENDS = (FileState.OK, FileState.FAILED, FileState.MISSING)


def make(aws: Account, files: int) -> Batch:
    aws.jobs.create(BATCH)
    aws.jobs.declare(BATCH, [FILE] * files)
    return read(aws)


def read(aws: Account) -> Batch:
    batch = aws.jobs.batch(ID)
    assert batch is not None
    return batch


def truth(aws: Account) -> Counter[FileState]:
    return Counter(file.state for file in aws.jobs.files(read(aws)))


def remembered(aws: Account) -> Recount:
    return recount(aws.jobs, read(aws), remember_from=1)


@pytest.mark.contract("recounts")
@pytest.mark.parametrize("kept", [0, 2])
def test_every_count_is_that_of_all_rows(aws: Account, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(progress, "OPEN_KEPT", kept)
    rng, seen = random.Random(kept), [make(aws, 5)]
    for turn in range(9):
        if turn == 5:
            aws.jobs.declare(read(aws), [FILE] * 4)
        aws.jobs.settle(ID, rng.randrange(9), rng.choice(ENDS), {})
        seen.append(read(aws))
        recount(aws.jobs, rng.choice(seen), remember_from=rng.choice([1, 3]))  # somebody read the row earlier

        found = remembered(aws)

        assert found.counts == truth(aws)
        assert found.progress.ended <= sum(truth(aws)[state] for state in ENDS)
        assert [file.number for file in found.open_files] == [
            file.number for file in aws.jobs.files(read(aws)) if not file.state.terminal
        ]
    for number in range(9):
        aws.jobs.settle(ID, number, FileState.OK, {})
    assert remembered(aws).counts == read(aws).progress.counts == truth(aws)


def test_rows_known_to_have_ended_are_not_read_again(aws: Account) -> None:
    make(aws, 30)
    for number in set(range(30)) - {0, 17, 29}:
        aws.jobs.settle(ID, number, FileState.OK, {})
    remembered(aws)
    batch = read(aws)
    reads = count_reads(aws.clients.dynamodb)

    assert recount(aws.jobs, batch).counts == {FileState.PENDING: 3, FileState.OK: 27}
    assert reads.rows == 3
    assert not all_ended(aws.jobs, batch)
    assert reads.rows == 4  # the first open one


def test_the_remembered_count_only_moves_forward(aws: Account) -> None:
    make(aws, 4)
    aws.jobs.settle(ID, 3, FileState.OK, {})
    early = remembered(aws)
    aws.jobs.settle(ID, 1, FileState.OK, {})
    late = remembered(aws)

    aws.jobs.remember(ID, early.progress)  # by a call that was slower

    assert read(aws).progress == late.progress == Progress(upto=4, open=(0, 2), counts=Counter({FileState.OK: 2}))


def test_few_files_that_ended_are_not_worth_a_write(aws: Account) -> None:
    make(aws, 3)
    aws.jobs.settle(ID, 0, FileState.OK, {})

    recount(aws.jobs, read(aws))

    assert read(aws).progress == Progress()


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_number_without_a_row_is_open(aws: Account, number: int) -> None:
    make(aws, 4)
    aws.clients.dynamodb.delete_item(TableName=aws.settings.table, Key=file_key(ID, number))
    for other in set(range(4)) - {number}:
        aws.jobs.settle(ID, other, FileState.OK, {})

    for _ in range(2):  # from all rows, then from those that were remembered
        found = remembered(aws)
        assert (found.gaps, found.open_files, found.counts.total()) == ([number], [], 3)
        assert not all_ended(aws.jobs, read(aws))


def test_files_declared_after_the_batch_was_read_are_not_counted(aws: Account) -> None:
    before = make(aws, 2)
    aws.jobs.declare(before, [FILE])

    assert recount(aws.jobs, before).counts == {FileState.PENDING: 2}


def test_an_ended_batch_is_counted_from_its_own_row(aws: Account) -> None:
    make(aws, 3)
    for number in range(3):
        aws.jobs.settle(ID, number, FileState.OK, {})
    aws.jobs.close(ID)
    assert finish_if_done(aws.jobs, aws.staging, read(aws)).state is BatchState.SUCCEEDED
    ended = read(aws)
    reads = count_reads(aws.clients.dynamodb)

    assert recount(aws.jobs, ended).counts == {FileState.OK: 3}
    assert reads.rows == 0


def test_counts_are_not_remembered_in_a_batch_that_was_purged(aws: Account) -> None:
    make(aws, 1)

    aws.jobs.remember("another", Progress(upto=1, counts=Counter({FileState.OK: 1})))

    assert aws.jobs.batch("another") is None


def test_rows_that_the_table_throttles_are_asked_for_again(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    make(aws, 3)
    real, keys = aws.clients.dynamodb.batch_get_item, []
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)

    def partly(RequestItems: dict[str, dict[str, list[object]]]) -> object:  # noqa: N803 - boto3's name
        [(table, asked)] = RequestItems.items()
        keys.append(len(asked["Keys"]))
        first, left = asked["Keys"][:1], asked["Keys"][1:]
        answer = real(RequestItems={table: asked | {"Keys": first}})
        return answer | ({"UnprocessedKeys": {table: asked | {"Keys": left}}} if left else {})

    monkeypatch.setattr(aws.clients.dynamodb, "batch_get_item", partly)

    assert list(aws.jobs.files_at(ID, [0, 1, 2])) == [0, 1, 2]
    assert keys == [3, 2, 1]


def test_a_stale_batch_counts_as_well_as_a_fresh_one(aws: Account) -> None:
    stale = make(aws, 3)
    aws.jobs.settle(ID, 0, FileState.OK, {})
    remembered(aws)

    assert recount(aws.jobs, stale).counts == recount(aws.jobs, replace(read(aws))).counts == truth(aws)
