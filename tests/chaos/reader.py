"""Check five invariants from the account itself; shares no code with the product."""

import base64
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Set
from typing import Any

from tests.chaos.findings import Reading
from tests.chaos.promises import Promises
from tests.chaos.story import Story

Json = dict[str, Any]
ENDS = ("OK", "FAILED", "CANCELLED", "MISSING")
BATCH_ENDS = ("succeeded", "partial", "failed", "cancelled", "expired")


class Reader:
    """Reads one account with clients of its own; `now` is in seconds since 1970."""

    def __init__(self, s3: Any, dynamodb: Any, streams: Any, bucket: str, table: str) -> None:  # noqa: ANN401
        self._s3, self._dynamodb, self._streams = s3, dynamodb, streams
        self._bucket, self._table = bucket, table
        self._known: dict[tuple[str, str | None], bytes] = {}

    def read(self, now: float, story: Story) -> Reading:
        """Check everything against what was done to the account."""
        reading = Reading()
        rows = [_plain(item) for item in self._scanned()]
        objects = self._objects()
        self._history(reading)
        files: dict[str, list[Json]] = defaultdict(list)
        batches = {row["PK"].removeprefix("B#"): row for row in rows if row["SK"] == "META" and "purged_at" not in row}
        for row in rows:
            if row["PK"].startswith("B#") and row["SK"] != "META":
                files[row["PK"].split("#")[1]].append(row)
        for batch, meta in batches.items():
            self._batch(reading, batch, meta, sorted(files[batch], key=lambda row: str(row["SK"])), objects, now)
        for batch in files.keys() - batches.keys():
            self._purged(reading, batch, files[batch])
        drops = {row["PK"].removeprefix("D#"): row for row in rows if row["PK"].startswith("D#")}
        for row in drops.values():
            self._drop(reading, row, objects)
        self._left(reading, batches.keys(), objects)
        self._names(reading, objects, rows)
        promises = Promises(reading, story, self._bucket, objects, lambda key, each: self._version(key, each, objects))
        for batch, meta in batches.items():
            promises.batch(batch, meta, files[batch])
        for batch in story.endings:
            promises.purged(batch, left=batch in batches)
        promises.drops({name: row["outcome"] for name, row in drops.items()})
        promises.letters()
        return reading

    def _history(self, reading: Reading) -> None:
        """Check invariant 1 in the table's stream, which has every write."""
        ended: dict[tuple[str, str], Json] = {}
        for change in self._changes():
            key = (change["Keys"]["PK"]["S"], change["Keys"]["SK"]["S"])
            new = _plain(change["NewImage"]) if "NewImage" in change else None
            if new is None or "purged_at" in new:
                ended.pop(key, None)
                continue
            if key in ended and ended[key] != new:
                reading.expect(holds=False, invariant=1, where="/".join(key), what=_difference(ended[key], new))
            if _ended(new):
                if key not in ended and key[1] != "META":
                    reading.counts["commits"] += 1
                ended[key] = new

    def _batch(
        self, reading: Reading, batch: str, meta: Json, files: list[Json], objects: dict[str, list[Json]], now: float
    ) -> None:
        state = meta["state"]
        reading.counts[f"batches {state}"] += 1
        for row in files:
            where = f"{batch}/{row['SK']}"
            reading.counts[f"files {row['state']}"] += 1
            done = row["state"] in ENDS
            reading.expect(holds=done or now < meta["deadline"], invariant=4, where=where, what=f"still {row['state']}")
            if row["state"] in ("OK", "FAILED"):
                prefix = f"out/{batch}/{int(row['SK'][2:]):05d}/{row['outcome'].get('attempt')}/"
                key = f"in/i/{batch}/{int(row['SK'][2:]):05d}"
                self._result(reading, where, prefix, key, row | {"committed": row["outcome"]}, objects)
        if state in BATCH_ENDS:
            self._documents(reading, batch, meta, files, objects)
        else:
            reading.expect(holds=now < meta["deadline"], invariant=4, where=batch, what=f"still {state}")
        reading.expect(
            holds=(state in BATCH_ENDS) != ("open_pk" in meta), invariant=4, where=batch, what="index of open batches"
        )

    def _drop(self, reading: Reading, row: Json, objects: dict[str, list[Json]]) -> None:
        outcome = row["outcome"]
        reading.counts[f"drops {outcome['state']}"] += 1
        for key in (key for key in objects if key.startswith("drop/")):
            for each in objects[key]:
                for identity in (each["VersionId"], each["ETag"].strip('"')):
                    name = f"{self._bucket}\n{key}\n{identity}"
                    if row["PK"] == "D#" + hashlib.sha256(name.encode()).hexdigest():
                        prefix = self._drop_prefix(key, identity, outcome, objects)
                        known = {"sha256": None, "state": outcome["state"], "committed": outcome}
                        self._result(reading, row["PK"], prefix, key, known, objects)
                        return
        reading.expect(holds=False, invariant=2, where=row["PK"], what="of no object")

    def _drop_prefix(self, key: str, identity: str, outcome: Json, objects: dict[str, list[Json]]) -> str:
        """Found, not computed: whatever ends with the identity and the attempt."""
        del key
        end = f"/{identity}/{outcome.get('attempt')}/result.json"
        found = [each for each in objects if each.startswith("out/drop/") and each.endswith(end)]
        return found[0].removesuffix("result.json") if found else "nowhere/"

    def _result(
        self, reading: Reading, where: str, prefix: str, key: str, row: Json, objects: dict[str, list[Json]]
    ) -> None:
        """Check invariant 2 of a committed file or drop."""
        outcome = row["committed"]

        def expect(what: str, *, holds: bool) -> None:
            reading.expect(holds=holds, invariant=2, where=where, what=what)

        if "version" not in outcome:
            expect("no version", holds=outcome.get("code") in ("batch.deadline", "async.failed"))
            return
        if outcome.get("code") in ("batch.gave_up", "async.failed"):
            return
        source = self._version(key, outcome["version"], objects)
        digest = hashlib.sha256(source).hexdigest() if source is not None else None
        for name, sha256 in outcome.get("objects", {}).items():
            expect(f"{name} is not there", holds=prefix + name in objects)
            if prefix + name in objects:
                data = self._data(prefix + name)
                expect(f"{name} is not as recorded", holds=hashlib.sha256(data).hexdigest() == sha256)
        if row["state"] == "FAILED":
            wrong = outcome["code"] == "input.digest"
            expect("a verdict on other bytes than it names", holds=not wrong or digest != row["sha256"])
            return
        expect("explained though it is not what was declared", holds=row["sha256"] in (None, digest))
        if prefix + "result.json" in objects:
            document = json.loads(self._data(prefix + "result.json"))
            expect("result.json is of other bytes than the version", holds=document["input"]["sha256"] == digest)
            others = {name: sha256 for name, sha256 in outcome["objects"].items() if name != "result.json"}
            expect("result.json names other objects", holds=document.get("objects") == others)

    def _documents(
        self, reading: Reading, batch: str, meta: Json, files: list[Json], objects: dict[str, list[Json]]
    ) -> None:
        """Check invariants 3 and 5 of an ended batch."""
        keys = (f"out/{batch}/manifest.json", f"out/{batch}/results.jsonl")
        for key in keys:
            once = len(objects.get(key, [])) == 1
            reading.expect(holds=once, invariant=5, where=key, what=f"written {len(objects.get(key, []))} times")
            if not once:
                return
        manifest, results = json.loads(self._data(keys[0])), self._data(keys[1])
        recount = Counter(str(row["state"]) for row in files)
        checks = (
            (3, "counts in the manifest", manifest["counts"] == dict(recount)),
            (3, "numbers that were given", [int(row["SK"][2:]) for row in files] == list(range(int(meta["declared"])))),
            (3, "the batch's end", meta["state"] in _ends(recount)),
            (5, "files in the manifest", manifest["files"] == [_listed(row) for row in files]),
            (5, "digest of results.jsonl", manifest["results"]["sha256"] == hashlib.sha256(results).hexdigest()),
            (5, "lines of results.jsonl", [json.loads(line) for line in results.splitlines()] == _lines(files)),
            (5, "all items terminal", all(row["state"] in ENDS for row in files)),
        )
        for invariant, what, holds in checks:
            reading.expect(holds=holds, invariant=invariant, where=batch, what=what)

    def _purged(self, reading: Reading, batch: str, files: list[Json]) -> None:
        """Check that a batch without a row of its own has no file either."""
        for row in files:
            reading.expect(holds=False, invariant=7, where=f"{batch}/{row['SK']}", what="left by a purge")

    def _left(self, reading: Reading, batches: Set[str], objects: dict[str, list[Json]]) -> None:
        """Check that there are no objects of batches without a row."""
        for key in objects:
            owner = key.split("/")[2 if key.startswith("in/") else 1]  # the lane comes first
            known = key.startswith("drop/") or owner == "drop" or owner in batches
            reading.expect(holds=known, invariant=7, where=key, what="left by a purge")

    def _names(self, reading: Reading, objects: dict[str, list[Json]], rows: list[Json]) -> None:
        names = {str(row["name"]) for row in rows if row.get("name")}
        for key in objects:
            if key.startswith("drop/") or key.startswith("out/drop/") or key.endswith("manifest.json"):
                continue
            known = any(name in key for name in names)
            reading.expect(holds=not known, invariant=6, where=key, what="a file name in a key")
            if key.endswith((".json", ".jsonl")):
                text = self._data(key).decode()
                held = any(name in text for name in names)
                reading.expect(holds=not held, invariant=6, where=key, what="a file name in an object")

    def _scanned(self) -> Iterator[Json]:
        for page in self._dynamodb.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True):
            yield from page["Items"]

    def _changes(self) -> Iterator[Json]:
        stream = self._dynamodb.describe_table(TableName=self._table)["Table"]["LatestStreamArn"]
        for shard in self._streams.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"]:
            answer = self._streams.get_shard_iterator(
                StreamArn=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            iterator = answer["ShardIterator"]
            while True:
                page = self._streams.get_records(ShardIterator=iterator, Limit=1000)
                if not page["Records"]:
                    break
                yield from (record["dynamodb"] for record in page["Records"])
                iterator = page["NextShardIterator"]

    def _objects(self) -> dict[str, list[Json]]:
        found: dict[str, list[Json]] = defaultdict(list)
        for page in self._s3.get_paginator("list_object_versions").paginate(Bucket=self._bucket):
            for each in page.get("Versions", []):
                found[each["Key"]].append(each)
        return dict(found)

    def _version(self, key: str, identity: str | None, objects: dict[str, list[Json]]) -> bytes | None:
        """The bytes that an identity names: a version, or the latest with such an ETag, or the latest of all."""
        for each in objects.get(key, []):
            if identity in (None, each["VersionId"], each["ETag"].strip('"')):
                return self._data(key, each["VersionId"])
        return None

    def _data(self, key: str, version: str | None = None) -> bytes:
        if (key, version) not in self._known:
            chosen = {"VersionId": version} if version else {}
            self._known[key, version] = self._s3.get_object(Bucket=self._bucket, Key=key, **chosen)["Body"].read()
        return self._known[key, version]


def _ended(row: Json) -> bool:
    return row["PK"].startswith("D#") or row["state"] in (*ENDS, *BATCH_ENDS)


def _difference(old: Json, new: Json) -> str:
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    states = f"{old.get('state')} -> {new.get('state')}" if old.get("state") != new.get("state") else ""
    return f"{', '.join(names)} changed {states}".strip()


def _ends(recount: Counter[str]) -> set[str]:
    """Return the states in which a batch of these files may have ended."""
    due = "partial" if recount["OK"] else "failed"
    if recount["OK"] == recount.total():
        due = "succeeded"
    return {due, "cancelled", "expired"}


def _listed(row: Json) -> Json:
    return {
        "number": int(row["SK"][2:]),
        "name": row["name"],
        "sha256": row["sha256"],
        "state": row["state"],
        "outcome": row.get("outcome", {}),
    }


def _lines(files: list[Json]) -> list[Json]:
    return [{"number": int(row["SK"][2:]), "state": row["state"], **row.get("outcome", {})} for row in files]


def _plain(item: Json) -> Json:
    return {name: _value(value) for name, value in item.items()}


def _value(typed: Json) -> Any:  # noqa: ANN401 - any JSON
    [(kind, value)] = typed.items()
    if kind == "N":
        return float(value) if any(letter in value for letter in ".eE") else int(value)
    if kind == "M":
        return _plain(value)
    if kind == "L":
        return [_value(each) for each in value]
    return None if kind == "NULL" else base64.b64decode(value) if kind == "B" else value
