"""Check from outside what clients may rely on; shares no code with the product."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.findings import Reading
from tests.chaos.paint import painted
from tests.chaos.story import FILE_BYTES, Story, Upload

Json = dict[str, Any]
SIGNATURE, END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
DEFAULTS = {"colormap": "jet", "alpha": 0.4, "include": ["overlay"]}  # of undeclared objects


@dataclass(frozen=True, slots=True)
class Promises:
    """Judges rows; `data` reads an object's bytes, of a version or the latest, and finds `None` where there is none."""

    reading: Reading
    story: Story
    bucket: str
    objects: Mapping[str, Sequence[Json]]
    data: Callable[[str, str | None], bytes | None]

    def batch(self, batch: str, meta: Json, files: Sequence[Json]) -> None:
        """Check a batch that was not purged."""
        self._end(batch, meta)
        for row in files:
            number = int(row["SK"][2:])
            where, key = f"{batch}/{row['SK']}", f"in/i/{batch}/{number:05d}"
            if row["state"] in ("OK", "FAILED"):
                outcome = row["outcome"] | {"state": row["state"]}
                prefix = f"out/{batch}/{number:05d}/{outcome.get('attempt')}/"
                self._verdict(where, key, prefix, outcome, row["sha256"], meta)
            elif row["state"] == "CANCELLED":
                self._expect(10, where, "cancelled though nobody asked for it", holds=self._cancelled(batch))
            elif row["state"] == "MISSING" and row["name"]:
                came = any(upload.key == key for upload in self._before_end(batch, meta))
                self._expect(9, where, "missing though it came in time", holds=not came)

    def purged(self, batch: str, *, left: bool) -> None:
        """Check a batch whose purge was confirmed."""
        asked = self.story.asked(batch, "purge")
        if not asked or not asked.told:
            return
        self._expect(7, batch, "there after a purge", holds=not left)
        results = [key for key in self.objects if key.startswith(f"out/{batch}/")]
        self._expect(7, batch, "results left by a purge", holds=not results)
        for upload in self.story.uploads[: asked.uploads]:
            if upload.key.startswith(f"in/i/{batch}/"):
                here = any(each["VersionId"] == upload.version for each in self.objects.get(upload.key, ()))
                self._expect(7, upload.key, "an upload left by a purge", holds=not here)

    def drops(self, rows: Mapping[str, Json]) -> None:
        """Check undeclared objects; `rows` are outcomes by their digest."""
        for index, upload in enumerate(self.story.uploads):
            if not upload.key.startswith("drop/"):
                continue
            for event in upload.events:
                name = f"{self.bucket}\n{event.key}\n{event.identity}"
                row = rows.get(hashlib.sha256(name.encode()).hexdigest())
                if row is None:
                    self._expect(
                        11, upload.key, "no row", holds=not event.handled or self._excused(index, event.identity)
                    )
                else:
                    self._drop(upload, event.identity, row)

    def letters(self) -> None:
        """Messages."""
        for name in self.story.dead:
            self._expect(12, name, "died though nothing happened to its last worker", holds=False)

    def _end(self, batch: str, meta: Json) -> None:
        if meta["state"] == "cancelled":
            self._expect(10, batch, "cancelled though nobody asked for it", holds=self._cancelled(batch))
        if meta["state"] == "expired":
            answered = [asked.answered for asked in self.story.endings.get(batch, {}).values()]
            unended = min(answered, default=meta["deadline"]) >= meta["deadline"]
            self._expect(9, batch, "expired though all was there", holds=unended or not self._in_time(meta))

    def _drop(self, upload: Upload, identity: str, row: Json) -> None:
        end = f"/{identity}/{row.get('attempt')}/result.json"
        found = [key for key in self.objects if key.startswith("out/drop/") and key.endswith(end)]
        prefix = found[0].removesuffix("result.json") if found else "nowhere/"
        self._verdict(upload.key, upload.key, prefix, row, None, {"options": DEFAULTS})

    def _verdict(self, where: str, key: str, prefix: str, outcome: Json, sha256: str | None, meta: Json) -> None:
        """Check invariants 9 and 10 of a file that a worker ended."""
        code = str(outcome.get("code"))
        if outcome["state"] == "FAILED" and code in ("batch.gave_up", "batch.deadline", "async.failed"):
            causes = {
                "batch.gave_up": key in self.story.exhausted,
                "batch.deadline": "deadline" in meta and not self._in_time(meta),
                "async.failed": key in self.story.failed,
            }
            self._expect(10, where, f"{code} for no reason", holds=causes[code])
            return
        if "version" not in outcome:
            self._expect(10, where, f"{code} of nobody knows what", holds=False)
            return
        source = self.data(key, outcome["version"])
        if source is None:
            return  # of no object: the other reader says so
        flaw = _flaw(source, sha256)
        if outcome["state"] == "FAILED":
            self._expect(10, where, f"{code} of what has the flaw {flaw!r}", holds=code == flaw)
            self._expect(
                10, where, "no word of it in the bucket", holds=key.startswith("in/") or self._told(prefix, code)
            )
            return
        self._expect(10, where, f"explained though {flaw}", holds=not flaw)
        if not flaw:
            self._as_asked(where, prefix, outcome, meta["options"], source)

    def _as_asked(self, where: str, prefix: str, outcome: Json, options: Json, source: bytes) -> None:
        overlaid = "overlay.png" in outcome["objects"]
        self._expect(9, where, "an overlay, or none", holds=overlaid == ("overlay" in options["include"]))
        asked = {name: options[name] for name in ("colormap", "alpha")}
        text = self.data(prefix + "result.json", None)
        if text is not None:
            recorded = json.loads(text).get("options", {})
            self._expect(9, where, "with other options than asked", holds=asked.items() <= recorded.items())
        overlay = self.data(prefix + "overlay.png", None)
        if overlay is not None and hashlib.sha256(overlay).hexdigest() == outcome["objects"].get("overlay.png"):
            self._expect(9, where, "not painted as asked", holds=painted(overlay, source, **asked))

    def _told(self, prefix: str, code: str) -> bool:
        """Return whether the bucket has the error of a failed drop."""
        text = self.data(prefix + "result.json", None)
        return text is not None and json.loads(text).get("error", {}).get("code") == code

    def _excused(self, index: int, identity: str) -> bool:
        """Return whether an event may end without a row: its object came too late or was replaced."""
        upload = self.story.uploads[index]
        replaced = any(each.key == upload.key for each in self.story.uploads[index + 1 :])
        return upload.early > 1 or (identity != upload.version and replaced)

    def _before_end(self, batch: str, meta: Json) -> list[Upload]:
        """List the uploads visible before they could be found missing."""
        closed = self.story.asked(batch, "close")
        if closed and closed.first < meta["deadline"]:
            return [each for each in self.story.uploads[: closed.uploads_first] if each.visible <= closed.first]
        return [each for each in self.story.uploads if each.visible < meta["deadline"]]

    def _cancelled(self, batch: str) -> bool:
        return bool(self.story.asked(batch, "cancel") or self.story.asked(batch, "purge"))

    def _in_time(self, meta: Json) -> bool:
        """Return whether everything possible was done before the deadline."""
        return bool(self.story.quiet < meta["deadline"])

    def _expect(self, invariant: int, where: str, what: str, *, holds: bool) -> None:
        self.reading.expect(holds=holds, invariant=invariant, where=where, what=what)


def _flaw(data: bytes, sha256: str | None) -> str:
    """The code that a worker must give these bytes, declared with a digest or not at all; none for a good image."""
    if len(data) > FILE_BYTES:
        return "limit.file_bytes"
    if sha256 not in (None, hashlib.sha256(data).hexdigest()):
        return "input.digest"
    if not data.startswith(SIGNATURE):
        return "input.unsupported"
    return "" if data.endswith(END) else "input.unreadable"
