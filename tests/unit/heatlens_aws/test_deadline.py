"""A batch's deadline counts from its last progress."""

import time
from itertools import pairwise

import pytest

from heatlens.model import Model
from heatlens_aws.deadline import last_progress, note_progress
from heatlens_aws.records import Batch, BatchState
from heatlens_aws.settings import PROGRESS_S
from heatlens_web.batches.service import BatchService
from tests.support.aws import Account
from tests.support.life import declaration
from tests.support.staged import Staged, desk, picture

DAY = 24 * 3600


@pytest.fixture
def service(aws: Account) -> BatchService:
    return BatchService(aws.jobs, aws.staging, aws.settings)


def opened(service: BatchService, *, created_ago: int = 0, files: int = 2) -> Batch:
    batch = service.find("me", service.create("me", expected=files, options={"include": ["map"]}, model="m").batch_id)
    earlier = {":at": {"N": str(batch.deadline - created_ago)}}
    service.jobs._dynamodb.update_item(
        TableName=service.settings.table,
        Key={"PK": {"S": f"B#{batch.id}"}, "SK": {"S": "META"}},
        UpdateExpression="SET deadline = :at",
        ExpressionAttributeValues=earlier,
    )
    return service.find("me", batch.id)


def test_declaring_and_new_links_move_the_deadline(service: BatchService) -> None:
    declared, linked = opened(service, created_ago=DAY), opened(service, created_ago=DAY)
    service.declare(declared, [declaration(picture())])
    service.links(linked, start=0)

    for batch in (declared, linked):
        assert service.find("me", batch.id).deadline == pytest.approx(time.time() + 5 * DAY, abs=60)


def test_a_worker_that_ends_a_file_moves_the_deadline(service: BatchService, aws: Account, tiny_model: Model) -> None:
    staged: Staged = desk(aws, tiny_model)
    batch = opened(service, created_ago=DAY)
    data = picture()
    service.declare(batch, [declaration(data)])
    batch = due_tomorrow(service, batch)

    staged.work(staged.received(staged.put(data, key=batch.upload_key(0))))

    assert service.find("me", batch.id).deadline == pytest.approx(time.time() + 5 * DAY, abs=60)


def test_a_worker_that_ends_nothing_does_not(service: BatchService, aws: Account, tiny_model: Model) -> None:
    staged: Staged = desk(aws, tiny_model)
    batch = opened(service)
    data = picture()
    service.declare(batch, [declaration(data)])
    stored = staged.put(data, key=batch.upload_key(0))
    staged.work(staged.received(stored))
    batch = due_tomorrow(service, batch)

    staged.work(staged.received(stored))

    assert service.find("me", batch.id).deadline == batch.deadline


def due_tomorrow(service: BatchService, batch: Batch) -> Batch:
    service.jobs._dynamodb.update_item(
        TableName=service.settings.table,
        Key={"PK": {"S": f"B#{batch.id}"}, "SK": {"S": "META"}},
        UpdateExpression="SET deadline = :at",
        ExpressionAttributeValues={":at": {"N": str(int(time.time()) + DAY)}},
    )
    return service.find("me", batch.id)


def test_the_row_is_written_once_an_hour_at_most(service: BatchService, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, writes, extend = opened(service), list[int](), service.jobs.extend_deadline

    def counted(name: str, deadline: int) -> None:
        writes.append(deadline)
        extend(name, deadline)

    monkeypatch.setattr(type(service.jobs), "extend_deadline", lambda _, name, deadline: counted(name, deadline))
    for minute in range(0, 180, 5):
        now = batch.created + 60 * minute
        note_progress(service.jobs, service.settings, service.find("me", batch.id), now)

    assert len(writes) == 2
    assert all(later - earlier > PROGRESS_S for earlier, later in pairwise(writes))


def test_the_deadline_never_moves_back_nor_beyond_the_life_of_the_rows(service: BatchService) -> None:
    batch = opened(service)

    note_progress(service.jobs, service.settings, batch, batch.created - 20 * DAY)
    assert service.find("me", batch.id).deadline == batch.deadline

    note_progress(service.jobs, service.settings, batch, batch.expires_at - DAY)
    assert service.find("me", batch.id).deadline == batch.expires_at


def test_the_deadline_of_an_ended_batch_does_not_move(service: BatchService) -> None:
    batch = opened(service)
    service.cancel(batch)

    service.jobs.extend_deadline(batch.id, batch.deadline + 10)

    ended = service.find("me", batch.id)
    assert (ended.state, ended.deadline) == (BatchState.CANCELLED, batch.deadline)


@pytest.mark.parametrize("later", [0, PROGRESS_S - 1, PROGRESS_S + 1, DAY])
def test_the_last_progress_is_never_before_the_real_one_and_an_hour_after_it_at_most(
    service: BatchService, later: int
) -> None:
    batch = opened(service)
    at = int(time.time()) + later
    note_progress(service.jobs, service.settings, batch, at)
    now = service.find("me", batch.id)

    assert 0 <= last_progress(service.settings, now) - at <= PROGRESS_S
