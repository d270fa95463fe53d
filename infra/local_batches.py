"""Run staged batches locally: account, API, worker and sweeper.

`python infra/local_batches.py DIR OUT` explains the images of DIR as one batch, overwrites the files of an earlier run
in OUT, and copies what the bucket has of the batch to OUT-bucket, for `heatlens verify`. Without arguments it serves
until it is interrupted.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heatlens_aws.object_keys import Lane, manifest_key
from heatlens_cli.events.http_events import LambdaContext
from infra.local_account import QUEUES, LocalAccount, local_account, sqs_event

logger = logging.getLogger(__name__)

BATCH_SIZE, WINDOW_S = 10, 1
WAIT_S = {Lane.INTERACTIVE: WINDOW_S, Lane.BULK: 0}  # one thread polls both: it waits where a person does
SWEEP_S = 5.0
NO_METRICS = {"POWERTOOLS_METRICS_DISABLED": "true"}  # they are written to standard output, for CloudWatch
QUIET = {"POWERTOOLS_LOG_LEVEL": "ERROR"}
EVERYTHING = {"AttributeNames": ["All"], "MessageAttributeNames": ["All"]}


class Worker(threading.Thread):
    """Do what Lambda's poller does: pass messages to the handler and delete those that it does not report as failed."""

    def __init__(self, account: LocalAccount) -> None:
        super().__init__(daemon=True, name="worker")
        self._account = account
        self._ending = threading.Event()

    def run(self) -> None:
        """Poll, and sweep every `SWEEP_S` seconds, until `end` is called."""
        from functions.batch import handler, sweeper  # they read the environment at import

        swept = 0.0
        while not self._ending.is_set():
            try:
                if time.monotonic() - swept > SWEEP_S:
                    swept = time.monotonic()
                    sweeper.handler({"source": "aws.events"}, _context())
                for lane in Lane:
                    self._turn(lane, handler.handler)
            except Exception:  # as on Lambda: the messages are redelivered
                logger.exception("an invocation failed")

    def end(self) -> None:
        """Finish the current messages and stop."""
        self._ending.set()
        self.join()

    def _turn(self, lane: Lane, handle: Callable[[Any, Any], Any]) -> None:
        sqs, queue = self._account.clients.sqs, self._account.settings.queue_url(lane)
        response = sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=BATCH_SIZE, WaitTimeSeconds=WAIT_S[lane], **EVERYTHING
        )
        messages = response.get("Messages", [])
        if not messages:
            return
        failures = handle(sqs_event(messages, QUEUES[lane]), _context())["batchItemFailures"]
        failed = {failure["itemIdentifier"] for failure in failures}
        for message in messages:
            if message["MessageId"] not in failed:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def _context() -> Any:  # noqa: ANN401 - stands for Lambda's own
    return LambdaContext()


@contextmanager
def running(*, quiet: bool = False) -> Iterator[tuple[str, LocalAccount]]:
    """Run account, worker, sweeper and API until the block ends; yield the API's URL and the account.

    `quiet` ones print errors of the worker only.
    """
    with local_account() as account:
        os.environ.update(account.environment | NO_METRICS | (QUIET if quiet else {}))
        command = [str(Path(sys.executable).parent / "heatlens"), "serve", "--port", "0"]
        worker = Worker(account)
        worker.start()
        stderr = subprocess.DEVNULL if quiet else None  # audit lines are written at every level
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as server:  # noqa: S603 - fixed
            try:
                assert server.stdout is not None, "stdout=PIPE"
                yield server.stdout.readline().split()[2], account
            finally:
                worker.end()
                server.terminate()


def explain_folder(source: str, folder: Path) -> int:
    """Explain a folder of images as one batch, and print how to verify it."""
    from heatlens_cli.batch.names import RESULTS
    from heatlens_cli.batch.run import run_batch

    with running(quiet=True) as (url, account):
        status = run_batch(source, folder, url=url, headers={}, options={}, force=True)
        lines = map(json.loads, (folder / RESULTS).read_text(encoding="utf-8").splitlines())
        copy = folder.with_name(f"{folder.name}-bucket")
        shutil.rmtree(copy, ignore_errors=True)
        for batch in dict.fromkeys(line["batch"] for line in lines if line["batch"]):
            copy_results(account, batch, copy)
            print(f"bucket {account.settings.bucket}, copied to {copy}", flush=True)
            print(f"verify it: heatlens verify {copy / manifest_key(batch)}", flush=True)
    return status


def copy_results(account: LocalAccount, batch: str, folder: Path) -> None:
    """Copy the results of a batch to a folder, by their keys."""
    s3, bucket = account.clients.s3, account.settings.bucket
    prefix = str(Path(manifest_key(batch)).parent)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
        for found in page.get("Contents", []):
            path = folder / found["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, found["Key"], str(path))


def main(words: list[str]) -> int:
    """Explain a folder of images as one batch, or serve."""
    if words:
        return explain_folder(words[0], Path(words[1]))
    with running() as (url, account):
        storage = account.settings.endpoint_url
        print(f"staged batches at {url}/api/inference/batches, their account at {storage}", flush=True)
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # handle it like Ctrl-C
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(0)
