"""Make the event or JSON body that sends an image to a function, for `sam local` and `curl`."""

import base64
from collections.abc import Callable
from pathlib import Path

from heatlens.errors import InvalidOption, Mistake
from heatlens_cli.events.http_events import KINDS, Event, heatmap_request
from heatlens_cli.events.object_events import OBJECT_KINDS, StoredObject

Maker = Callable[[str, bytes, str, str], Event]


def make_event(image: Path, kind: str, *, query: str, bucket: str) -> Event:
    """Make one event of one image.

    Args:
        image: The file; its name is the upload's file name, or the object's key below `drop/`.
        kind: One of `EVENT_KINDS`.
        query: Query of the request, such as `colormap=hot&include=map`; ignored by the other kinds.
        bucket: Bucket of the object; ignored by the other kinds.

    Raises:
        InvalidOption: No such kind.
        OSError: The file cannot be read.
    """
    if kind not in EVENT_KINDS:
        raise InvalidOption(Mistake("kind", f"unknown kind {kind!r}: one of {', '.join(EVENT_KINDS)}", "unknown_kind"))
    return EVENT_KINDS[kind](image.name, image.read_bytes(), query, bucket)


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
