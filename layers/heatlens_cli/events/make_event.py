"""Make the event or JSON body that sends an image to a function, for `sam local` and `curl`."""

import base64
from collections.abc import Callable
from pathlib import Path

from heatlens.errors import InvalidOption, Mistake
from heatlens.settings import LIMITS, read_settings
from heatlens_cli.events.http_events import KINDS, Event, heatmap_request
from heatlens_cli.events.object_events import OBJECT_KINDS, StoredObject
from heatlens_cli.read_file import read_file

Maker = Callable[[str, bytes, str, str], Event]


def make_event(image: Path, kind: str, *, query: str, bucket: str) -> Event:
    """Make one event of one image.

    Args:
        image: The file; its name is the upload's file name, or the object's key below `drop/`.
        kind: One of `EVENT_KINDS`.
        query: Query of the request, such as `colormap=hot&include=map`; ignored by the other kinds.
        bucket: Bucket of the object; ignored by the other kinds.

    Raises:
        FileTooLarge: The file is over the limit of a process with one caller.
        InvalidOption: No such kind.
        OSError: The file cannot be read.
    """
    max_bytes = read_settings().limits(LIMITS).file_bytes
    return wrap_image(image.name, read_file(image, max_bytes), kind, query=query, bucket=bucket)


def wrap_image(name: str, data: bytes, kind: str, *, query: str, bucket: str) -> Event:
    """Make one event of the bytes of one image; the arguments are those of `make_event`.

    Raises:
        InvalidOption: No such kind.
    """
    if kind not in EVENT_KINDS:
        raise InvalidOption(Mistake("kind", f"unknown kind {kind!r}: one of {', '.join(EVENT_KINDS)}", "unknown_kind"))
    return EVENT_KINDS[kind](name, data, query, bucket)


def _request(wrap: Callable[..., Event]) -> Maker:
    return lambda name, data, query, _: wrap(heatmap_request(name, data, query=query))


def _object(wrap: Callable[[StoredObject], Event]) -> Maker:
    return lambda name, data, _, bucket: wrap(StoredObject(bucket, f"drop/{name}", data))


def _body(name: str, data: bytes, query: str, bucket: str) -> Event:
    """Make the JSON body of the API's `heatmap` and the endpoint's `/invocations`, without options."""
    del query, bucket
    return {"filename": name, "image_base64": base64.b64encode(data).decode("ascii")}


EVENT_KINDS: dict[str, Maker] = {
    **{kind: _request(wrap) for kind, wrap in KINDS.items()},
    **{kind: _object(wrap) for kind, wrap in OBJECT_KINDS.items()},
    "json": _body,
}
