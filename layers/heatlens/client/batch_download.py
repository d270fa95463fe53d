"""Download the results of one file of a staged batch, each checked against the committed digest."""

import hashlib
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from heatlens.client import batch_calls as api
from heatlens.client.batch_files import CHUNK, check_name
from heatlens.client.batch_records import FileResult, ResultLinks
from heatlens.client.errors import ClientError, TransferFailed
from heatlens.client.exchange import Call, Work, shape

KINDS = ("overlay", "map_image", "map", "result", "dicom")  # links of a file; the last are several
_EXPIRED = 403


class DigestMismatch(ClientError):
    """The bytes of a result are not those that were committed."""

    def __init__(self) -> None:
        super().__init__("its bytes differ from the committed digest")
        self.code = "download.digest"


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What was downloaded of one file; `error` is why its results could not be, `code` why it has none."""

    name: str
    state: str
    code: str | None
    paths: list[Path]
    error: ClientError | None = None


@dataclass(frozen=True, slots=True)
class _Document:
    """The part of `result.json` that is read: the digest of each object beside it."""

    objects: dict[str, str] = field(default_factory=dict)


def download_file(batch: str, result: FileResult, folder: Path, kinds: Iterable[str] = KINDS) -> Call[Downloaded]:
    """Download the results of one file, under its name with a suffix each; its errors are in the outcome.

    `.heatmap.png` (or the batch's format) is the overlay, `.heatmap.map.png` the colored map, `.heatmap.npy` the signed
    map, `.heatmap.json` the facts, `.heatmap.sc.dcm` a DICOM object; `kinds` are those that are wanted. An expired link
    is signed again.
    """
    outcome = Downloaded(result.name, result.state, result.code, [])
    if result.links is None:
        return outcome
    try:
        check_name(result.name)
        try:
            yield from _fetch(result.links, folder / result.name, kinds, outcome.paths)
        except TransferFailed as error:
            if error.status != _EXPIRED:
                raise
            again = yield from api.result(batch, result.number)
            yield from _fetch(again.links or result.links, folder / result.name, kinds, outcome.paths)
    except ClientError as error:
        return Downloaded(result.name, result.state, result.code, outcome.paths, error)
    except OSError as error:
        failure = ClientError(f"it cannot be written: {error.strerror}")
        return Downloaded(result.name, result.state, result.code, outcome.paths, failure)
    except ValueError as error:
        return Downloaded(result.name, result.state, result.code, outcome.paths, ClientError(str(error)))
    return outcome


def result_suffix(kind: str, link: str) -> str:
    """Return the suffix of a result's file: of `overlay`, `map_image`, `map`, `result` or `dicom`, by its link."""
    name = _name(link)
    own = name.suffix
    return {"map_image": f".heatmap.map{own}", "dicom": f".heatmap{''.join(name.suffixes)}"}.get(kind, f".heatmap{own}")


def read_digests(document: bytes) -> dict[str, str]:
    """Read the digests of a file's results from its `result.json`, by the names of the objects.

    Raises:
        ValueError: The document has none.
    """
    try:
        objects: dict[str, str] = shape(_Document).validate_json(document).objects
    except ValidationError as error:
        raise ValueError("its result.json names no digests") from error
    return objects


def _fetch(links: ResultLinks, target: Path, kinds: Iterable[str], paths: list[Path]) -> Call[None]:
    document = io.BytesIO()
    yield from api.download(links.result, document)
    digests = read_digests(document.getvalue())
    del paths[:]
    for kind, link in _wanted(links, kinds):
        path = target.with_name(target.name + result_suffix(kind, link))
        if kind == "result":
            yield Work(partial(_replace, path, document.getvalue()))
        else:
            yield from _fetch_object(link, path, digests.get(_name(link).name))
        paths.append(path)


def _wanted(links: ResultLinks, kinds: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield kind and link of each object that is wanted and is there."""
    for kind in kinds:
        found = getattr(links, kind) or ()
        yield from ((kind, link) for link in (found.values() if isinstance(found, dict) else [found]) if link)


def _name(link: str) -> PurePosixPath:
    return PurePosixPath(unquote(urlsplit(link).path))


def _fetch_object(link: str, path: Path, digest: str | None) -> Call[None]:
    if digest is not None and (yield Work(lambda: _sha256(path))) == digest:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{secrets.token_hex(8)}.new")
    try:
        with new.open("w+b") as file:
            yield from api.download(link, cast("BinaryIO", file))
        if (yield Work(lambda: _sha256(new))) != digest:
            raise DigestMismatch
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{secrets.token_hex(8)}.new")
    new.write_bytes(data)
    os.replace(new, path)


def _sha256(path: Path) -> str | None:
    """Return the digest of a file, or `None` if there is none."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()
