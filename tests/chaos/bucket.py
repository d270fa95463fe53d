"""Upload objects and send their events: late, lost, twice, in each sender's shape, or before the object is visible."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

from botocore.exceptions import ClientError

from tests.chaos.clock import Clock
from tests.chaos.hooks import Call, Hook, Json
from tests.chaos.queue import Queue
from tests.chaos.story import Event, Story, Upload

UPLOADS = ("in/", "drop/")


@dataclass(frozen=True, slots=True)
class Weather:
    """How often something happens to an upload's event; `late_s` is the longest delay."""

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    hidden: float = 0.0
    late_s: float = 3600.0
    hidden_s: float = 120.0


CALM = Weather()
STORM = Weather(lost=0.03, doubled=0.25, late=0.2, hidden=0.04)


@dataclass(slots=True)
class Bucket(Hook):
    """Puts objects as clients do, sends their events, and hides objects that are not visible yet."""

    s3: Any  # without hooks
    name: str
    queue: Queue
    clock: Clock
    rng: random.Random
    counts: Counter[str]
    story: Story
    weather: Weather = CALM
    unreadable: bool = False  # every read of an upload fails

    def put(self, key: str, data: bytes, *, once: bool = False) -> None:
        """Upload an object; with `once` as a declared file's link does, which fails if the object exists."""
        condition = {"IfNoneMatch": "*"} if once else {}
        try:
            answer = self.s3.put_object(Bucket=self.name, Key=key, Body=data, **condition)
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise
            self.counts["uploads refused"] += 1
            return
        self.counts["objects uploaded"] += 1
        self._announce(key, answer["VersionId"], answer["ETag"])

    def before(self, call: Call) -> None:
        if call.name not in ("GetObject", "HeadObject") or not call.params["Key"].startswith(UPLOADS):
            return
        if self.unreadable:
            raise ClientError({"Error": {"Code": "InternalError"}}, call.name)
        upload = self.story.named(call.params["Key"], call.params.get("VersionId"))
        if upload and self._is_hidden(upload):
            upload.early += 1
            self.counts["event: before its object"] += 1
            raise ClientError(
                {"Error": {"Code": "NoSuchVersion" if "VersionId" in call.params else "NoSuchKey"}}, call.name
            )

    def after(self, call: Call, answer: Json) -> None:
        if call.name == "ListObjectVersions" and "Versions" in answer:
            answer["Versions"] = list(self._seen(answer["Versions"]))
        if call.name == "CopyObject" and "CopyObjectResult" in answer:
            self._announce(call.params["Key"], answer["VersionId"], answer["CopyObjectResult"]["ETag"])

    def _seen(self, versions: list[Json]) -> Iterator[Json]:
        """Reduce a listing to the visible versions."""
        shown = {(each["Key"], each["VersionId"]): each for each in versions}
        latest: dict[str, Json] = {}
        for upload in self.story.uploads:
            if each := shown.get((upload.key, upload.version)):
                each["LastModified"] = datetime.fromtimestamp(upload.at, UTC)
                each["IsLatest"] = True
                if self._is_hidden(upload):
                    del shown[upload.key, upload.version]
                    continue
                if before := latest.get(upload.key):
                    before["IsLatest"] = False
                latest[upload.key] = each
        yield from shown.values()

    def _announce(self, key: str, version: str, etag: str) -> None:
        now = self.clock.now
        upload = Upload(key, version, etag.strip('"'), now, now)
        self.story.uploads.append(upload)
        if self._happens("hidden"):
            upload.visible += self.rng.uniform(1, self.weather.hidden_s)
        if self._happens("lost"):
            return
        for _ in range(2 if self._happens("doubled") else 1):
            delay = self.rng.uniform(1, self.weather.late_s) if self._happens("late") else 0.0
            body, event = self._event(upload)
            upload.events.append(event)
            self.queue.send(json.dumps(body), delay_s=delay, event=event)

    def _happens(self, what: str) -> bool:
        if self.rng.random() >= getattr(self.weather, what):
            return False
        self.counts[f"event: {what}"] += 1
        return True

    def _is_hidden(self, upload: Upload) -> bool:
        return upload.visible > self.clock.now

    def _event(self, upload: Upload) -> tuple[Json, Event]:
        """Make an event: most as S3 sends it, some as EventBridge does, some without versions."""
        shape = self.rng.random() if self.weather is not CALM else 0.0
        key, quoted, bucket = upload.key, quote_plus(upload.key, safe="/"), {"name": self.name}
        if shape < 0.7:
            thing = {"key": quoted, "versionId": upload.version, "eTag": upload.etag}
            return _record(bucket, thing), Event(key, upload.version)
        if shape < 0.85:
            return _record(bucket, {"key": quoted, "eTag": upload.etag}), Event(key, upload.etag)
        thing = {"key": key, "version-id": upload.version, "etag": upload.etag}
        detail = {"bucket": bucket, "object": thing}
        return {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}, Event(key, upload.version)


def _record(bucket: Json, thing: Json) -> Json:
    return {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": bucket, "object": thing}}]}
