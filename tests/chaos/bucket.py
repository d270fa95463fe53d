"""Uploads and their events: late, lost, doubled, in each sender's shape, and before the object can be seen."""

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

from botocore.exceptions import ClientError

from tests.chaos.clock import Clock
from tests.chaos.hooks import Call, Hook, Json
from tests.chaos.queue import Queue

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
    """Puts objects as clients do, announces them, and keeps those that cannot be seen yet from the product."""

    s3: Any  # without hooks
    name: str
    queue: Queue
    clock: Clock
    rng: random.Random
    counts: Counter[str]
    weather: Weather = CALM
    _hidden: dict[tuple[str, str], float] = field(default_factory=dict)
    _modified: dict[tuple[str, str], float] = field(default_factory=dict)

    def put(self, key: str, data: bytes, *, once: bool = False) -> None:
        """Upload; `once` as a declared file's link does, which fails where something is."""
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
        if call.name != "GetObject" or not call.params["Key"].startswith(UPLOADS):
            return
        key, version = call.params["Key"], call.params.get("VersionId")
        names = [(key, version)] if version else [name for name in self._hidden if name[0] == key]
        if any(self._is_hidden(*name) for name in names):
            self.counts["event: before its object"] += 1
            raise ClientError({"Error": {"Code": "NoSuchVersion" if version else "NoSuchKey"}}, call.name)

    def after(self, call: Call, answer: Json) -> None:
        if call.name == "ListObjectVersions":
            names = [(each, (each["Key"], each["VersionId"])) for each in answer.get("Versions", [])]
            for each, name in names:
                each["LastModified"] = datetime.fromtimestamp(self._modified.get(name, self.clock.now), UTC)
            if names:
                answer["Versions"] = [each for each, name in names if not self._is_hidden(*name)]
        if call.name == "CopyObject" and "CopyObjectResult" in answer:
            self._announce(call.params["Key"], answer["VersionId"], answer["CopyObjectResult"]["ETag"])

    def _announce(self, key: str, version: str, etag: str) -> None:
        self._modified[key, version] = self.clock.now
        if self._happens("hidden"):
            self._hidden[key, version] = self.clock.now + self.rng.uniform(1, self.weather.hidden_s)
        if self._happens("lost"):
            return
        for _ in range(2 if self._happens("doubled") else 1):
            delay = self.rng.uniform(1, self.weather.late_s) if self._happens("late") else 0.0
            self.queue.send(json.dumps(self._event(key, version, etag)), delay_s=delay)

    def _happens(self, what: str) -> bool:
        if self.rng.random() >= getattr(self.weather, what):
            return False
        self.counts[f"event: {what}"] += 1
        return True

    def _is_hidden(self, key: str, version: str) -> bool:
        return self._hidden.get((key, version), 0.0) > self.clock.now

    def _event(self, key: str, version: str, etag: str) -> Json:
        """Most as S3 sends it, some as EventBridge does, some of a bucket that says no versions."""
        shape = self.rng.random() if self.weather is not CALM else 0.0
        bucket, etag = {"name": self.name}, etag.strip('"')
        if shape < 0.7:
            thing = {"key": quote_plus(key, safe="/"), "versionId": version, "eTag": etag}
            return {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": bucket, "object": thing}}]}
        if shape < 0.85:
            thing = {"key": quote_plus(key, safe="/"), "eTag": etag}
            return {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": bucket, "object": thing}}]}
        thing = {"key": key, "version-id": version, "etag": etag}
        return {"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": bucket, "object": thing}}
