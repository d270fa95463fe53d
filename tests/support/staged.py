"""Make, upload, announce and read staged batches on an account in memory."""

import hashlib
import importlib
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any
from unittest.mock import patch
from urllib.parse import quote_plus

import numpy as np
from PIL import Image

from functions.batch import context as batch_context
from functions.batch.context import WorkerContext
from functions.batch.logs import logger
from functions.batch.messages import parse_messages
from functions.batch.pace import Pace
from functions.batch.worker import work
from heatlens.model import Model
from heatlens.registry import ModelRegistry
from heatlens.types import Floats, Indices
from heatlens_aws.batch_table import Declared
from heatlens_aws.object_keys import Lane, upload_key
from heatlens_aws.records import Batch, File
from heatlens_aws.settings import STAGED_LIMITS
from heatlens_aws.staging import Stored
from infra.local_account import QUEUES, sqs_event
from tests.support.aws import ID, OPEN_BATCH, Account
from tests.support.images import encoded, noise

Json = dict[str, Any]
NAME = "Doe^Jane 1970-01-01.png"  # must never be seen outside the table and the manifest


class CurrentStdout:
    """Writes to the current standard output, so that tests capture the function's log."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


for log_handler in logger.handlers:
    assert isinstance(log_handler, logging.StreamHandler)
    log_handler.setStream(CurrentStdout())


class Counting:
    """An engine that records the size of every batch and the brightness of its images."""

    name, precision, device = "counting", "f32", "CPU"

    def __init__(self, model: Model) -> None:
        self.engine = model.engine
        self.sizes: list[int] = []
        self.seen: list[int] = []

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        self.sizes.append(len(batch))
        self.seen += [round(float(image.mean()) * 255) for image in batch]
        return self.engine.trunk(batch)

    def tail(
        self, crossing: Sequence[Floats], selector: Floats, owners: Indices | None = None
    ) -> tuple[Floats, Floats | None]:
        return self.engine.tail(crossing, selector, owners)


@dataclass
class Context:
    """A Lambda context with a fixed remaining time."""

    seconds: float = 100
    function_name: str = "batch"
    memory_limit_in_mb: int = 128
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:batch"
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@dataclass
class Staged:
    """A worker on an account, with helpers to send it events."""

    aws: Account
    context: WorkerContext
    engine: Counting

    def batch(
        self, *files: bytes, number_of_batch: str = ID, options: Json | None = None, lane: Lane = Lane.INTERACTIVE
    ) -> Batch:
        """Declare files with their size and digest."""
        made = replace(
            OPEN_BATCH,
            id=number_of_batch,
            lane=lane,
            expected=max(len(files), 1),
            options=options or {},
            created=1_000_000_000,
            deadline=4_000_000_000,
            expires_at=4_000_000_000,
        )
        self.aws.jobs.create(made)
        declared = [Declared(NAME, len(each), hashlib.sha256(each).hexdigest(), "image/png") for each in files]
        if declared:
            self.aws.jobs.declare(made, declared)
        return self.read(number_of_batch)

    def read(self, batch: str = ID) -> Batch:
        found = self.aws.jobs.batch(batch)
        assert found is not None
        return found

    def file(self, number: int = 0, batch: str = ID) -> File:
        found = self.aws.jobs.file(batch, number)
        assert found is not None
        return found

    def put(self, data: bytes, number: int = 0, *, key: str = "") -> Stored:
        """Upload as a client does."""
        key = key or upload_key(Lane.INTERACTIVE, ID, number)
        answer = self.aws.clients.s3.put_object(Bucket=self.aws.settings.bucket, Key=key, Body=data)
        return Stored(key, answer.get("VersionId"), answer["ETag"])

    def record(self, stored: Stored, size: int | None = None, bucket: str = "") -> Json:
        """Make one record as S3 writes it."""
        thing: Json = {"key": quote_plus(stored.key, safe="/"), "eTag": (stored.etag or "").strip('"')}
        thing |= {"versionId": stored.version} if stored.version else {}
        thing |= {"size": size} if size is not None else {}
        return {
            "eventVersion": "2.5",
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": bucket or self.aws.settings.bucket}, "object": thing},
        }

    def received(self, *bodies: Json | str | Stored, receives: int = 1, lane: Lane = Lane.INTERACTIVE) -> Json:
        """Make a queue's event with a message per body."""
        return {"Records": [self.message(body, f"m{index}", receives, lane) for index, body in enumerate(bodies)]}

    def message(self, body: Json | str | Stored, name: str, receives: int = 1, lane: Lane = Lane.INTERACTIVE) -> Json:
        if isinstance(body, Stored):
            body = {"Records": [self.record(body)]}
        return {
            "messageId": name,
            "receiptHandle": f"receipt-{name}",
            "body": body if isinstance(body, str) else json.dumps(body),
            "attributes": {"ApproximateReceiveCount": str(receives)},
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{QUEUES[lane]}",
        }

    def waiting(self) -> list[Json]:
        """Receive what waits in the interactive queue, as a worker's event has it."""
        received = self.aws.clients.sqs.receive_message(
            QueueUrl=self.aws.settings.interactive_queue_url,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
            MaxNumberOfMessages=10,
        )
        records: list[Json] = sqs_event(received.get("Messages", []))["Records"]
        return records

    def work(self, event: Json, *, seconds: float = 100) -> set[str]:
        return work(self.context, parse_messages(event), lambda: seconds)

    def invoke(self, event: Json, *, seconds: float = 100) -> Json | None:
        """Call the function's handler on this account."""
        with patch.object(batch_context, "open_context", lambda: self.context):
            handler = imported("functions.batch.handler").handler
        response: Json | None = handler(event, Context(seconds))
        return response

    def object(self, key: str) -> bytes:
        data: bytes = self.aws.clients.s3.get_object(Bucket=self.aws.settings.bucket, Key=key)["Body"].read()
        return data

    def keys(self, prefix: str) -> list[str]:
        return [stored.key for stored in self.aws.staging.uploaded(prefix)]


def desk(aws: Account, model: Model, *, batch_images: int = 8) -> Staged:
    """Make a worker with a model whose batches are counted."""
    engine = Counting(model)
    account = batch_context.Account(aws.settings, aws.jobs, aws.staging, aws.clients.sqs)
    models, pace = ModelRegistry.of(replace(model, engine=engine)), Pace(assumed=0.01)
    worker = WorkerContext(account, models, STAGED_LIMITS, batch_images, pace)
    return Staged(aws, worker, engine)


def grey(level: int, side: int = 40) -> bytes:
    """Make a PNG of one brightness, which the counting engine distinguishes."""
    return encoded(Image.fromarray(np.full((side, side), level, np.uint8)))


def picture(seed: int = 0) -> bytes:
    return encoded(noise((48, 36), seed=seed))


def imported(function: str) -> ModuleType:
    """Import a function's module anew, which opens its account and models."""
    sys.modules.pop(function, None)
    return importlib.import_module(function)
