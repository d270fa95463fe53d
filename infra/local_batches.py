"""Run staged batches locally: account, API, worker and sweeper.

`python infra/local_batches.py DIR OUT` explains the images of DIR as one batch, and overwrites the files of an
earlier run in OUT. Without arguments it serves until it is interrupted.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heatlens_aws.object_keys import Lane
from heatlens_cli.events.http_events import LambdaContext
from infra.local_account import QUEUES, LocalAccount, local_account, sqs_event

logger = logging.getLogger(__name__)

BATCH_SIZE, WINDOW_S = 10, 1
WAIT_S = {Lane.INTERACTIVE: WINDOW_S, Lane.BULK: 0}  # one thread polls both: it waits where a person does
SWEEP_S = 5.0
NO_METRICS = {"POWERTOOLS_METRICS_DISABLED": "true"}  # they are written to standard output, for CloudWatch
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
def running() -> Iterator[tuple[str, str]]:
    """Run account, worker, sweeper and API until the block ends; yield the API's and the account's URL."""
    with local_account() as account:
        os.environ.update(account.environment | NO_METRICS)
        command = [str(Path(sys.executable).parent / "heatlens"), "serve", "--port", "0"]
        worker = Worker(account)
        worker.start()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - a fixed command
            try:
                assert server.stdout is not None, "stdout=PIPE"
                yield server.stdout.readline().split()[2], account.settings.endpoint_url
            finally:
                worker.end()
                server.terminate()


def main(words: list[str]) -> int:
    """Explain a folder of images as one batch, or serve."""
    from heatlens_cli.batch.run import run_batch

    with running() as (url, storage):
        print(f"staged batches at {url}/api/inference/batches, their account at {storage}", flush=True)
        if words:
            source, folder = words
            return run_batch(source, Path(folder), url=url, headers={}, options={}, force=True)
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # handle it like Ctrl-C
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(0)
