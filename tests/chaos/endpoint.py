"""An asynchronous endpoint of a world: the real server computes; its notices come doubled, late or never."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from functions.endpoint.app import create_app
from heatlens_web.settings import ServerSettings
from tests.chaos.hooks import Call, Hook, Json
from tests.chaos.queue import Queue
from tests.chaos.story import Story
from tests.support.sagemaker import FakeRuntime, enveloped, notice
from tests.support.tiny import write_tiny_model

FATES = ("told", "doubled", "failed", "lost", "late", "busy")
LATE_S = 600.0
BUSY = b'{"code": "server.busy", "detail": "ask again"}'
TTL_S, TIMEOUT_S = 600, 900  # an image waits and is worked at; then the sweeper looks for a lost notice


class Container(Hook):
    """Answers the product's calls to the endpoint; `fates` says what happens to each inference."""

    def __init__(self, s3: Any, bucket: str, queue: Queue, story: Story, counts: Counter[str]) -> None:  # noqa: ANN401
        self.fates: Iterator[str] = repeat("told")
        self._s3, self._bucket = s3, bucket
        self._queue, self._story, self._counts = queue, story, counts
        self._made: FakeRuntime | None = None
        self._turned_away: set[str] = set()

    @property
    def waiting(self) -> bool:
        return bool(self._made and self._made.waiting)

    def before(self, call: Call) -> Json | None:
        if call.service != "sagemaker-runtime":
            return None
        self._counts["inferences asked for"] += 1
        return self._runtime.invoke_endpoint_async(**call.params)

    def run(self) -> None:
        """Compute all waiting inferences and send their notices."""
        if not self.waiting:
            return
        asked, self._runtime.waiting = self._runtime.waiting, []
        for each in asked:
            self._answer(*each, next(self.fates))

    def _answer(self, asked: Json, places: Json, fate: str) -> None:
        key = asked["InputLocation"].removeprefix(f"s3://{self._bucket}/")
        if fate == "busy" and key in self._turned_away:  # once: a file waits again three times at most
            fate = "told"
        self._counts[f"inference: {fate}"] += 1
        if fate == "busy":
            self._turned_away.add(key)
            notice = self._refused(asked, places, BUSY)
        elif self._is_there(key):
            self._runtime.broken = fate == "failed"
            self._runtime.waiting.append((asked, places))
            self._runtime.run()
            notice = self._runtime.notices.pop()
        else:
            notice = self._refused(asked, places, b"there is nothing to compute: it was purged meanwhile")
        if fate != "busy" and notice["invocationStatus"] != "Completed":
            self._story.failed.add(key)
        if fate == "lost":
            return
        for _ in range(2 if fate == "doubled" else 1):
            self._queue.send(json.dumps(enveloped(notice)), delay_s=LATE_S if fate == "late" else 0.0)

    def _refused(self, asked: Json, places: Json, words: bytes) -> Json:
        place = places["FailureLocation"]
        self._s3.put_object(Bucket=self._bucket, Key=place.removeprefix(f"s3://{self._bucket}/"), Body=words)
        return notice(asked, place, "", completed=False)

    def _is_there(self, key: str) -> bool:
        return any(
            each["Key"] == key for each in self._s3.list_objects_v2(Bucket=self._bucket, Prefix=key).get("Contents", [])
        )

    @property
    def _runtime(self) -> FakeRuntime:
        if self._made is None:
            self._made = FakeRuntime(_door(), self._s3, self._bucket, delayed=True)
        return self._made


@cache
def _door() -> TestClient:
    """Make the server once, like the clients."""
    folder = tempfile.TemporaryDirectory()
    client = TestClient(
        create_app(ServerSettings(model_dir=write_tiny_model(Path(folder.name)))), raise_server_exceptions=False
    )
    folder.cleanup()  # the model is in memory
    return client
