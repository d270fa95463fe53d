"""One seeded world: an account in memory, a simulated clock and queue, and the functions on hooked clients."""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Self
from unittest.mock import patch

import numpy as np
import tenacity.nap
from botocore import endpoint as botocore_endpoint
from moto import mock_aws
from moto.moto_api._internal import mock_random

from functions.batch import async_submit, destinations, requeue, tasks, worker
from functions.batch.context import Account, WorkerContext
from heatlens.engines.base import Engine
from heatlens.model import Model
from heatlens.registry import ModelRegistry
from heatlens.types import Floats, Indices
from heatlens_aws import finishing
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.clients import Clients, connect
from heatlens_aws.sagemaker_async import Endpoint
from heatlens_aws.settings import STAGED_LIMITS
from heatlens_aws.staging import Staging
from heatlens_web.batches import service as desks
from heatlens_web.batches.service import BatchService
from infra.local_account import CREDENTIALS, make_bucket, make_table
from tests.chaos.bucket import Bucket
from tests.chaos.clock import Clock
from tests.chaos.endpoint import TIMEOUT_S, TTL_S, Container
from tests.chaos.faults import Faults
from tests.chaos.hooks import Call, Hook, Json, Wires
from tests.chaos.protections import HOOKS, Protection, one_attempt
from tests.chaos.queue import DOUBLE, MAX_RECEIVES, URL, Queue
from tests.chaos.story import FILE_BYTES, Story
from tests.support.aws import SETTINGS
from tests.support.sagemaker import NAME

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
DEADLINE_S = 4 * 3600


class Inline:
    """A pool that runs its work at once and in order, so that a seed repeats the numbers of calls."""

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    @staticmethod
    def map(step: Callable[..., Any], *items: Iterable[Any]) -> Iterator[Any]:
        return iter([step(*each) for each in zip(*items, strict=True)])


class Processor:
    """An engine on a processor whose last bits differ from others'."""

    name, precision, device = "processor", "f32", "CPU"

    def __init__(self, engine: Engine, number: int) -> None:
        self._engine, self._factor = engine, np.float32(1 + number / 1000)

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        first, *others = self._engine.trunk(batch)
        return (first * self._factor, *others)

    def tail(self, crossing: Any, selector: Floats, owners: Indices | None = None) -> tuple[Floats, Floats | None]:  # noqa: ANN401 - as the protocol's
        return self._engine.tail(crossing, selector, owners)


class Refusals(Hook):
    """Counts the commits of ended files: duplicates that changed nothing."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts

    def after(self, call: Call, answer: Json) -> None:
        row = call.params.get("Key") or call.params.get("Item") or {}
        refused = answer.get("Error", {}).get("Code") == "ConditionalCheckFailedException"
        if refused and row["SK"]["S"].startswith("F#"):
            self._counts["duplicates suppressed"] += 1


@dataclass(frozen=True, slots=True)
class World:
    """Everything that a step needs; `raw` are clients without hooks."""

    rng: random.Random
    counts: Counter[str]
    clock: Clock
    queue: Queue
    faults: Faults
    bucket: Bucket
    container: Container
    story: Story
    raw: Clients
    account: Account
    desk: BatchService
    model: Model
    surprises: list[str] = field(default_factory=list)

    def context(self) -> WorkerContext:
        """Make a worker's context on a processor of its own."""
        engine = Processor(self.model.engine, self.rng.randrange(1000))
        limits = STAGED_LIMITS.model_copy(update={"file_bytes": FILE_BYTES})
        return WorkerContext(self.account, ModelRegistry.of(replace(self.model, engine=engine)), limits, 8)


@contextmanager
def world(
    model: Model,
    seed: int,
    counts: Counter[str],
    *,
    without: Protection | None = None,
    clock: Clock | None = None,
    doubled: float = DOUBLE,
) -> Iterator[World]:
    """Make a world that ends with the block; `clock` may be a timeline, `doubled` is the queue's."""
    rng, clock = random.Random(seed), clock or Clock()
    mock_random.seed(seed)

    def ulid() -> str:
        return "".join(rng.choices(CROCKFORD, k=26))

    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, CREDENTIALS))
        stack.enter_context(mock_aws())
        for module, name, put in (
            (desks, "ULID", ulid),
            (tasks, "ULID", ulid),
            (desks, "time", clock),
            (destinations, "time", clock),
            (async_submit, "time", clock),
            (worker, "time", clock),
            (requeue, "time", clock),
            (tenacity.nap, "time", clock),
            (botocore_endpoint, "time", clock),
            (desks, "ThreadPoolExecutor", Inline),
            (worker, "ThreadPoolExecutor", Inline),
            (finishing, "ThreadPoolExecutor", Inline),
        ):
            stack.enter_context(patch.object(module, name, put))
        if without == "attempts":
            stack.enter_context(one_attempt())
        switches = [HOOKS[without]()] if without in HOOKS else []
        yield _made(model, rng, clock, counts, switches, doubled)


@cache
def _clients() -> tuple[Clients, Clients, Wires]:
    """Make the clients once: that takes longer than a small world."""
    settings = SETTINGS.model_copy(update={"async_endpoint": NAME})
    raw, hooked = connect(SETTINGS), connect(settings)
    return raw, hooked, Wires((hooked.s3, hooked.sqs, hooked.dynamodb, hooked.sagemaker))


def _made(
    model: Model, rng: random.Random, clock: Clock, counts: Counter[str], switches: list[Hook], doubled: float
) -> World:
    settings = SETTINGS.model_copy(
        update={
            "interactive_queue_url": URL,
            "bulk_queue_url": URL,  # one queue stands for both lanes'
            "batch_deadline_s": DEADLINE_S,
            "max_receives": MAX_RECEIVES,
            "async_endpoint": NAME,
            "async_ttl_s": TTL_S,
            "async_timeout_s": TIMEOUT_S,
        }
    )
    raw, hooked, wires = _clients()
    make_bucket(raw, settings.bucket)
    make_table(raw, settings.table)
    raw.dynamodb.update_table(
        TableName=settings.table,
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    story = Story()
    queue, faults = Queue(clock, rng, counts, story, doubled=doubled), Faults(rng, counts)
    bucket = Bucket(raw.s3, settings.bucket, queue, clock, rng, counts, story)
    container = Container(raw.s3, settings.bucket, queue, story, counts)
    # Faults come before those who answer: what they raise keeps nobody else from seeing an answer.
    wires.hooks = (*switches, bucket, Refusals(counts), faults, queue, container)
    jobs, staging = BatchTable(hooked.dynamodb, settings.table), Staging(hooked.s3, settings.bucket)
    return World(
        rng=rng,
        counts=counts,
        clock=clock,
        queue=queue,
        faults=faults,
        bucket=bucket,
        container=container,
        story=story,
        raw=raw,
        account=Account(settings, jobs, staging, hooked.sqs, Endpoint(hooked.sagemaker, settings)),
        desk=BatchService(jobs, staging, settings),
        model=model,
    )
