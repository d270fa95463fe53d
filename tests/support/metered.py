"""Drive the functions on Lambda through their handlers, on an account in memory, and let them write their metrics.

`python -m tests.support.metered`, in a process of its own: the functions configure its log. See
tests/functional/test_metrics.py.
"""

import importlib
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any
from unittest.mock import patch

from heatlens.model import load_model
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.object_keys import upload_key
from heatlens_aws.records import Batch, BatchState, File, FileState
from heatlens_aws.staging import Staging, Stored
from heatlens_cli.events.http_events import KINDS, HttpRequest, heatmap_request
from infra.local_account import CREDENTIALS
from tests.support.aws import Account, account
from tests.support.denials import denial
from tests.support.dicom_studies import radiograph
from tests.support.images import encoded, noise
from tests.support.life import LONG
from tests.support.sagemaker import FakeRuntime, connected, enveloped, notice, with_endpoint
from tests.support.staged import Context, Staged, desk, picture
from tests.support.tiny import write_tiny_model

ENVIRONMENT = {"AWS_LAMBDA_FUNCTION_NAME": "function", "HEATLENS_STACK": "metered"}
URL = "/api/inference"
ENDS = (FileState.OK, FileState.FAILED)
OUTCOME = {"attempt": "a", "label": "x", "probability": 0.5, "quality": "ok"}


@dataclass
class Functions:
    """The handlers of the three functions, and what gives them work."""

    aws: Account
    staged: Staged
    runtime: FakeRuntime
    api: ModuleType
    batch: ModuleType
    sweeper: ModuleType
    made: int = 0

    def ask(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
        headers = {"content-type": "application/json"}
        request = HttpRequest(f"{URL}{path}", "", method, headers, json.dumps(body).encode() if body else b"")
        return self.send(request)

    def send(self, request: HttpRequest) -> Any:  # noqa: ANN401 - JSON
        answer = self.api.handler(KINDS["http-api-v2"](request), Context(20))
        try:
            return json.loads(answer["body"])
        except ValueError:
            return answer["body"]

    def work(self, *stored: Stored, receives: int = 1, seconds: float = 100, **event: Any) -> None:  # noqa: ANN401
        made = event or self.staged.received(*stored, receives=receives)
        for record in made.get("Records", []):
            record.get("attributes", {})["SentTimestamp"] = str(int(time.time() * 1000) - 5)
        self.batch.handler(made, Context(seconds))

    def sweep(self) -> None:
        self.sweeper.handler({}, Context())

    def open(self, *files: bytes, **options: Any) -> Batch:  # noqa: ANN401 - as in the row
        self.made += 1
        name = f"01J{self.made:023d}"
        return self.staged.batch(*files, number_of_batch=name, options=options)

    def put(self, batch: Batch, data: bytes, number: int = 0) -> Stored:
        return self.staged.put(data, key=upload_key(batch.lane, batch.id, number))


def requests(functions: Functions) -> None:
    """Answer requests of each class of status, with every stage."""
    functions.send(heatmap_request("a.png", picture(), query="include=regions&include=overlay&include=faithfulness"))
    functions.send(heatmap_request("a.dcm", radiograph(), query="include=map&dicom=sr"))
    functions.send(heatmap_request("a.png", picture(), query="alpha=7"))
    functions.send(heatmap_request("a.png", b"no image", query=""))
    functions.send(heatmap_request("a.png", encoded(noise((1150, 1150))), query=""))
    with patch("heatlens.pipeline.preprocess", side_effect=KeyError):
        functions.send(heatmap_request("a.png", picture(), query=""))
    with patch.object(BatchTable, "batch", side_effect=denial("AccessDeniedException", "GetItem")):
        functions.ask("GET", f"/batches/01J{1:023d}")


def ended_batches(functions: Functions) -> list[tuple[Batch, BatchState | None]]:
    """Open a batch for each end, whose files have ended; some are to be cancelled or expire."""
    made: list[tuple[Batch, BatchState | None]] = []
    for states in ([FileState.OK], [*ENDS], [FileState.FAILED]):
        batch = functions.open(*(picture(seed) for seed in range(len(states))))
        for number, state in enumerate(states):
            functions.aws.jobs.settle(batch.id, number, state, OUTCOME)
        made.append((batch, None))
    made += [(functions.open(picture()), ending) for ending in (BatchState.CANCELLED, BatchState.EXPIRED)]
    return made


def end(functions: Functions, batch: Batch, ending: BatchState | None) -> None:
    if ending:
        functions.aws.jobs.decide_end(batch.id, ending, now=5_000_000_000)
    else:
        functions.aws.jobs.close(batch.id)


def finish_by_the_api(functions: Functions) -> None:
    with patch("heatlens_web.batches.service.COUNTS_LIVE_S", 0.0):
        for batch, ending in ended_batches(functions):
            owned(functions, batch)
            end(functions, batch, ending)
            functions.ask("POST", f"/batches/{batch.id}/close", {})
        missing = functions.ask("POST", "/batches", {"expected_files": 1})["batch_id"]
        file = {"name": "a.png", "size": 9, "sha256": "0" * 64, "media_type": "image/png"}
        functions.ask("POST", f"/batches/{missing}/files", {"files": [file]})
        functions.ask("POST", f"/batches/{missing}/close", {})


def owned(functions: Functions, batch: Batch) -> None:
    """Give a batch to the caller of the API, who is the owner of the batches that it opens."""
    created = functions.ask("POST", "/batches", {"expected_files": 1})["batch_id"]
    made = functions.aws.jobs.batch(created)
    assert made
    functions.aws.clients.dynamodb.update_item(
        TableName=functions.aws.settings.table,
        Key={"PK": {"S": f"B#{batch.id}"}, "SK": {"S": "META"}},
        UpdateExpression="SET #owner = :owner",
        ExpressionAttributeNames={"#owner": "owner"},
        ExpressionAttributeValues={":owner": {"S": made.owner}},
    )


def finish_by_the_sweeper(functions: Functions) -> None:
    for batch, ending in ended_batches(functions):
        if ending is BatchState.EXPIRED:
            functions.put(batch, picture())
        end(functions, batch, ending)
    functions.aws.jobs.close(functions.open(picture()).id)
    functions.sweep()
    functions.open(picture())
    for error in (ValueError(), denial()):
        with patch("functions.batch.sweep.recount", side_effect=error):
            functions.sweep()


def finish_by_the_worker(functions: Functions) -> None:
    """Let the last file of a batch end in the worker, for each end."""
    for files in ([picture(1)], [picture(1), b"no image"], [b"no image"]):
        batch = functions.open(*files, include=["overlay", "regions", "faithfulness"])
        stored = [functions.put(batch, data, number) for number, data in enumerate(files)]
        functions.aws.jobs.close(batch.id)
        functions.work(*stored)
        functions.work(*stored)
    scan = radiograph()
    functions.work(functions.put(functions.open(scan, include=["map"], dicom=["sr"]), scan))
    for ending in (BatchState.CANCELLED, BatchState.EXPIRED):
        batch = functions.open(picture())
        functions.aws.jobs.decide_end(batch.id, ending, now=5_000_000_000)
        functions.work(functions.put(batch, picture()))


def unfinished_items(functions: Functions) -> None:
    """Receive what is foreign, ignored, replaced, late, denied or fails for now."""
    batch = functions.open(picture())
    stored = functions.put(batch, picture())
    functions.work(replace(stored, version="no-such-version"))
    functions.work(Stored(upload_key(batch.lane, "01J9" + 22 * "9", 0), "v", '"e"'))
    functions.work(Stored("elsewhere", "v", '"e"'))
    functions.work(stored, seconds=5)
    for error in (TimeoutError(), denial()):
        with patch.object(Staging, "read", side_effect=error):
            functions.work(stored)


def by_the_endpoint(functions: Functions) -> None:
    """Submit a file, and have the endpoint turn it away."""
    batch = functions.open(picture(), backend="sagemaker", include=["overlay"])
    with patch.object(FakeRuntime, "run"):
        functions.work(functions.put(batch, picture()))
    [(asked, places)] = functions.runtime.waiting
    file = functions.aws.jobs.file(batch.id, 0)
    assert isinstance(file, File)
    key = places["FailureLocation"].removeprefix(f"s3://{functions.aws.settings.bucket}/")
    functions.staged.put(json.dumps({"code": "server.busy", "detail": "later"}).encode(), key=key)
    turned_away = notice(asked, places["FailureLocation"], "application/json", completed=False)
    functions.work(**functions.staged.received(enveloped(turned_away)))


def with_a_lost_notice(functions: Functions) -> None:
    """Let the sweeper find the endpoint's response after the time that one may take."""
    batch = functions.open(picture(), backend="sagemaker", include=["overlay"])
    functions.work(functions.put(batch, picture()))
    with patch("functions.batch.sweeper.time.time", return_value=time.time() + LONG):
        functions.sweep()


def main() -> None:
    """Drive all functions; their lines are the output."""
    with TemporaryDirectory() as name:
        folder = write_tiny_model(Path(name))
        with patch.dict(os.environ, CREDENTIALS | ENVIRONMENT | {"HEATLENS_MODEL_DIR": str(folder)}), account() as aws:
            settings = aws.settings
            os.environ |= {
                "HEATLENS_BUCKET": settings.bucket,
                "HEATLENS_TABLE": settings.table,
                "HEATLENS_INTERACTIVE_QUEUE_URL": settings.interactive_queue_url,
                "HEATLENS_BULK_QUEUE_URL": settings.bulk_queue_url,
            }
            staged = desk(aws, load_model(folder, threads=1))
            api, batch, sweeper = [importlib.import_module(f"functions.{each}") for each in NAMES]
            runtime = with_endpoint(staged, folder)
            context = batch.worker_context
            account_ = connected(context.account, runtime, staged.context.account.settings)
            batch.worker_context = replace(context, account=account_)  # type: ignore[attr-defined]
            functions = Functions(aws, staged, runtime, api, batch, sweeper)
            for part in PARTS:
                part(functions)


NAMES = ("api.handler", "batch.handler", "batch.sweeper")
PARTS = (
    requests,
    finish_by_the_api,
    finish_by_the_sweeper,
    finish_by_the_worker,
    unfinished_items,
    by_the_endpoint,
    with_a_lost_notice,
)


if __name__ == "__main__":
    main()
