"""A folder of images -> a staged batch on a server -> heatmaps on disk; interrupted, it goes on where it was."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from functions.cli.files import out
from functions.cli.sources import MEDIA_TYPES, RESULT_SUFFIX, Source, source_at
from heatlens.errors import HeatlensError

NOTES = ".heatlens-batch.json"  # in the output folder: what this run has declared, so that it can go on
CALL_FILES = 500  # the server's limit of one declaring call
MAX_NAME_BYTES = 255
UPLOADS_AT_ONCE = 8
POLL_S = 2.0
ENDS = {"succeeded", "partial", "failed", "cancelled", "expired"}
ALREADY_THERE = 412  # a link is good for one upload
BEING_WRITTEN = 409  # by somebody else, at this moment


class BatchFailed(HeatlensError):
    """The batch cannot be run; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A file of the folder as it was declared."""

    path: str
    sha256: str
    number: int


@dataclass(slots=True)
class Notes:
    """What is known of a run, kept beside its results."""

    batch_id: str
    files: list[Declared]

    def save(self, folder: Path) -> None:
        """Write the notes whole or not at all."""
        fresh = folder / f"{NOTES}.new"
        fresh.write_text(json.dumps(asdict(self)), encoding="utf-8")
        fresh.replace(folder / NOTES)

    @staticmethod
    def load(folder: Path) -> "Notes | None":
        """Read the notes of an earlier run, if there was one."""
        try:
            kept = json.loads((folder / NOTES).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise BatchFailed(f"{folder / NOTES} is damaged: remove it to start anew") from error
        return Notes(kept["batch_id"], [Declared(**each) for each in kept["files"]])


def run_batch(address: str, folder: Path, *, url: str, headers: dict[str, str], options: dict[str, Any]) -> int:
    """Run a folder of images as one batch.

    Args:
        address: A folder, searched with its subfolders, or `s3://BUCKET/PREFIX`.
        folder: Where the heatmaps and `results.jsonl` go.
        url: Address of the server.
        headers: Sent with every call to the server, not with uploads.
        options: `colormap` and `alpha` of the batch.

    Returns:
        The exit status: 0 if every file succeeded, else 1.

    Raises:
        HeatlensError: There are no images, or the server refuses or does not answer.
    """
    source = source_at(address, results=folder)
    names = source.names()
    if not names:
        raise BatchFailed(f"{address} has no images ({', '.join(MEDIA_TYPES)})")
    folder.mkdir(parents=True, exist_ok=True)
    with httpx2.Client(base_url=f"{url.rstrip('/')}/api/inference", headers=headers, timeout=60) as server:
        run = _Run(server, source, folder)
        try:
            return run.go(names, options)
        except httpx2.TransportError as error:
            raise BatchFailed(f"{url} does not answer ({type(error).__name__}): run the same again to go on") from error


class _Run:
    def __init__(self, server: httpx2.Client, source: Source, folder: Path) -> None:
        self._server = server
        self._source = source
        self._folder = folder

    def go(self, names: Sequence[str], options: dict[str, Any]) -> int:
        notes = self._begun() or self._begin(len(names), options)
        bar = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=out,
        )
        with bar:
            if self._status(notes)["state"] == "open":
                self._declare(names, notes)
                self._upload(notes, bar)
                self._ask("POST", f"/batches/{notes.batch_id}/close")
            self._wait(notes, bar)
            failed = self._fetch(notes, bar)
        (self._folder / NOTES).unlink()
        return int(failed > 0)

    def _begun(self) -> Notes | None:
        notes = Notes.load(self._folder)
        if notes is None or self._server.get(f"/batches/{notes.batch_id}").status_code == 404:
            return None
        out.print(f"going on with batch {notes.batch_id}")
        return notes

    def _begin(self, count: int, options: dict[str, Any]) -> Notes:
        created = self._ask("POST", "/batches", json={"expected_files": count, "include": "overlay"} | options)
        notes = Notes(created["batch_id"], [])
        notes.save(self._folder)
        return notes

    def _declare(self, names: Sequence[str], notes: Notes) -> None:
        known = {each.path for each in notes.files}
        new = [name for name in names if name not in known]
        for start in range(0, len(new), CALL_FILES):
            files = [self._declaration(name) for name in new[start : start + CALL_FILES]]
            body = {"files": [file | {"name": _short(file["name"])} for file in files]}
            answer = self._ask("POST", f"/batches/{notes.batch_id}/files", json=body)
            notes.files += [
                Declared(file["name"], file["sha256"], link["number"])
                for file, link in zip(files, answer["files"], strict=True)
            ]
            notes.save(self._folder)

    def _declaration(self, name: str) -> dict[str, Any]:
        data = self._source.read(name)
        return {
            "name": name,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "media_type": MEDIA_TYPES[Path(name).suffix.lower()],
        }

    def _upload(self, notes: Notes, bar: Progress) -> None:
        names = {each.number: each.path for each in notes.files}
        task = bar.add_task("upload", total=len(names), rate="")
        sent = 0
        with httpx2.Client(timeout=300) as storage, ThreadPoolExecutor(UPLOADS_AT_ONCE) as workers:

            def put(link: dict[str, Any]) -> None:
                name = names[link["number"]]
                response = storage.put(link["url"], content=self._source.read(name), headers=link["headers"])
                if response.status_code == BEING_WRITTEN:
                    raise BatchFailed(f"{name} is being uploaded by another run: run the same again")
                if response.status_code not in (200, ALREADY_THERE):
                    raise BatchFailed(f"{name}: the upload was refused with status {response.status_code}")

            for links in self._missing(notes):
                for _ in workers.map(put, links):
                    sent += 1
                    bar.advance(task)
        bar.update(task, total=sent, completed=sent)

    def _missing(self, notes: Notes) -> Iterator[list[dict[str, Any]]]:
        start: int | None = 0
        while start is not None:
            answer = self._ask("POST", f"/batches/{notes.batch_id}/files/links", params={"start": start})
            known = {each.number for each in notes.files}
            yield [link for link in answer["files"] if link["number"] in known]
            start = answer["next"]

    def _wait(self, notes: Notes, bar: Progress) -> None:
        task = bar.add_task("explain", total=len(notes.files), rate="")
        while True:
            status = self._status(notes)
            counts = status["counts"]
            done = sum(counts.values()) - counts["PENDING"] - counts["SUBMITTED"]
            rate = f"{status['files_per_s']:.1f}/s" if status["files_per_s"] else ""
            bar.update(task, completed=done, total=status["declared_files"], rate=rate)
            if status["state"] in ENDS:
                return
            time.sleep(POLL_S)

    def _fetch(self, notes: Notes, bar: Progress) -> int:
        paths = {each.number: each.path for each in notes.files}
        task = bar.add_task("fetch", total=len(paths), rate="")
        failed = 0
        with (
            (self._folder / "results.jsonl").open("w", encoding="utf-8") as results,
            httpx2.Client(timeout=300) as storage,
        ):
            for result in self._results(notes):
                links = result.pop("links")
                results.write(json.dumps(result) + "\n")
                if result["state"] == "OK":
                    self._save(paths.get(result["number"], result["name"]), storage.get(links["overlay"]))
                else:
                    failed += 1
                    out.print(escape(f"{result['name']}: {result['state']} {result['code'] or ''}"))
                bar.advance(task)
        out.print(f"{len(paths) - failed} heatmaps in {self._folder}, {failed} failed")
        return failed

    def _results(self, notes: Notes) -> Iterator[dict[str, Any]]:
        start: int | None = 0
        while start is not None:
            page = self._ask("GET", f"/batches/{notes.batch_id}/results", params={"start": start, "limit": 200})
            yield from page["results"]
            start = page["next"]

    def _save(self, path: str, response: httpx2.Response) -> None:
        if response.status_code != 200:
            raise BatchFailed(f"{path}: no heatmap to fetch (status {response.status_code}): run the same again")
        target = self._folder / f"{path}{RESULT_SUFFIX}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(response.content)

    def _status(self, notes: Notes) -> dict[str, Any]:
        return self._ask("GET", f"/batches/{notes.batch_id}")

    def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - passes through
        response = self._server.request(method, path, **request)
        try:
            body: dict[str, Any] = response.json()
        except ValueError:
            body = {}
        if not response.is_success:
            said = body.get("detail") or body.get("message") or response.reason_phrase
            raise BatchFailed(f"the server refused ({response.status_code}): {said}")
        return body


def _short(name: str) -> str:
    """The end of a name that the server takes: 255 bytes at most."""
    return name.encode()[-MAX_NAME_BYTES:].decode(errors="ignore")


def parse_headers(lines: list[str]) -> dict[str, str]:
    """Headers as people write them, `Name: value`.

    Raises:
        BatchFailed: One has no colon.
    """
    wrong = [line for line in lines if ":" not in line]
    if wrong:
        raise BatchFailed(f"{wrong[0]!r} is no header: write it as Name: value")
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
