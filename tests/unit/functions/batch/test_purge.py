"""The sweeper erases a purged batch in portions, looks again with growing pauses, and ends its tombstone last."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.batch.purge import LATEST_S, SOONEST_S, erase_purged
from heatlens.model import Model
from heatlens_aws.metrics import BATCHES_SWEPT, BATCHES_UNSWEPT
from heatlens_aws.object_keys import Lane, attempt_prefix, batch_prefixes, manifest_key, results_key, upload_key
from heatlens_aws.records import FileState
from heatlens_aws.sagemaker_async import Attempt
from heatlens_aws.staging import Staging
from heatlens_aws.tombstones import PurgeState
from tests.support.aws import ID, Account, purged
from tests.support.staged import NAME, Staged, desk, picture

OTHER = "01J11111111111111111111111"
NOW, LIFE_S = 2_000_000_000, 4 * 3600


@pytest.fixture
def staged(aws: Account, tiny_model: Model) -> Staged:
    return desk(aws, tiny_model)


def erased(staged: Staged, after: int = 0, left: Callable[[], float] = lambda: 100) -> tuple[int, int]:
    counts = erase_purged(staged.context.account, NOW + after, left)
    return counts[BATCHES_SWEPT], counts[BATCHES_UNSWEPT]


def fill(staged: Staged, batch: str = ID) -> None:
    """Purge a batch of two files that has objects of all kinds, in both lanes, versions and a delete marker."""
    made = staged.batch(picture(1), picture(2), number_of_batch=batch)
    attempt = attempt_prefix(batch, 0, OTHER)
    for key in (
        upload_key(Lane.INTERACTIVE, batch, 0),
        upload_key(Lane.BULK, batch, 0),
        f"{attempt}overlay.png",
        manifest_key(batch),
    ):
        staged.put(NAME.encode(), key=key)
    staged.put(b"{}", key=f"async/{batch}/00000/{OTHER}/answer.out")
    staged.aws.clients.s3.delete_object(Bucket=staged.aws.settings.bucket, Key=f"{attempt}overlay.png")
    purged(staged.aws, made, now=NOW, life_s=LIFE_S)


def everything(staged: Staged) -> tuple[list[Any], list[Any]]:
    listed = staged.aws.clients.s3.list_object_versions(Bucket=staged.aws.settings.bucket)
    rows = staged.aws.clients.dynamodb.scan(TableName=staged.aws.settings.table)["Items"]
    return rows, listed.get("Versions", []) + listed.get("DeleteMarkers", [])


def state(staged: Staged, batch: str = ID) -> PurgeState | None:
    tombstone = staged.aws.jobs.tombstones.find(batch)
    return tombstone.state if tombstone else None


def test_every_key_of_a_batch_lies_below_its_prefixes() -> None:
    """A new place for a batch's objects must be erased too."""
    keys = [
        *(upload_key(lane, ID, 0) for lane in Lane),
        attempt_prefix(ID, 0, OTHER),
        results_key(ID),
        manifest_key(ID),
        f"async/{Attempt(ID, 0, OTHER).folder}",
    ]

    assert all(key.startswith(batch_prefixes(ID)) for key in keys)


def test_erases_rows_and_all_versions_of_all_objects_and_nothing_else(staged: Staged) -> None:
    staged.batch(picture(), number_of_batch=OTHER)
    staged.put(b"x", key=upload_key(Lane.BULK, OTHER, 0))
    before = everything(staged)
    fill(staged)

    assert erased(staged) == (1, 0)

    rows, objects = everything(staged)
    assert objects == before[1]
    assert [row for row in rows if row["PK"]["S"] != f"B#{ID}"] == before[0]
    assert state(staged) is PurgeState.PURGED


def test_looks_again_with_growing_pauses_until_the_tombstone_ends(staged: Staged) -> None:
    fill(staged)
    visits: list[int] = []
    while rows := everything(staged)[0]:
        [row] = [row for row in rows if "open_sk" in row]
        visits.append(int(row["open_sk"]["S"].partition("#")[0]) - NOW)
        assert erased(staged, visits[-1] - 1) == (0, 0)
        assert erased(staged, visits[-1]) == (1, 0)

    pauses = [later - earlier for earlier, later in pairwise(visits)]
    assert pauses[0] == SOONEST_S
    assert max(pauses) == LATEST_S
    assert visits[-1] == LIFE_S
    assert len(visits) < 15
    assert everything(staged) == ([], [])


@pytest.mark.parametrize("late", [61, LIFE_S - 1])
def test_what_is_written_after_the_purge_is_erased(staged: Staged, late: int) -> None:
    fill(staged)
    erased(staged)
    staged.put(b"late", key=upload_key(Lane.BULK, ID, 1))
    staged.put(NAME.encode(), key=manifest_key(ID))

    erased(staged, late)

    assert everything(staged)[1] == []
    assert state(staged) is PurgeState.PURGED


def test_the_last_pass_erases_before_the_tombstone_ends(staged: Staged) -> None:
    fill(staged)

    erased(staged, LIFE_S)

    assert everything(staged) == ([], [])
    assert erased(staged, LIFE_S + 9999) == (0, 0)


def spent(*seconds: float) -> Callable[[], float]:
    """Return a clock that runs out."""
    left: Iterator[float] = iter(seconds)
    last = seconds[-1]
    return lambda: next(left, last)


def test_stops_when_its_time_is_used_up_and_the_next_run_continues(staged: Staged) -> None:
    fill(staged)
    portions = 0
    while state(staged) is PurgeState.PURGING:
        # Time for the start and one portion.
        assert erased(staged, 60 * portions, spent(100, 100, 40)) == (1, 0)
        portions += 1
        assert portions < 10

    assert portions > 3
    assert everything(staged)[1] == []


def test_leaves_half_of_the_time_to_other_batches(staged: Staged) -> None:
    for batch in (ID, OTHER):
        fill(staged, batch)

    assert erased(staged, 0, spent(100, *[60.0] * 5, 49)) == (1, 0)


def test_a_batch_that_cannot_be_erased_does_not_stop_others(
    staged: Staged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for batch in (ID, OTHER):
        fill(staged, batch)
    erase = Staging.erase_portions

    def denied(staging: Staging, prefix: str) -> Iterator[int]:
        if ID in prefix:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "secret"}}, "DeleteObjects")
        return erase(staging, prefix)

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "erase_portions", denied)
        assert erased(staged) == (2, 1)

    assert (state(staged), state(staged, OTHER)) == (PurgeState.PURGING, PurgeState.PURGED)
    printed = capsys.readouterr().out
    assert "AccessDenied" in printed
    assert "secret" not in printed
    assert erased(staged, SOONEST_S)[1] == 0
    assert state(staged) is PurgeState.PURGED


def test_a_worker_commits_nothing_for_a_purged_batch(staged: Staged) -> None:
    data = picture()
    made = staged.batch(data)
    event = staged.received(staged.put(data))
    purged(staged.aws, made, now=NOW, life_s=LIFE_S)

    assert staged.work(event) == set()

    assert staged.engine.sizes == []
    assert staged.keys("out/") == []
    assert staged.file().state is FileState.PENDING
