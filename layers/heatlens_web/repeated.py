"""Find names that a request gives twice where one value counts: either could be the one that was meant."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

_KEPT_BYTES = 256  # of a text in JSON, with which a longer one could not be a key
_MAX_QUOTES, _MAX_BYTES = 200_000, 1_000_000  # beyond, keys are not compared: a list or a tensor
_ESCAPE = b"\\"


def repeated_details(names: Iterable[str], several: Collection[str], *, place: tuple[str, ...]) -> list[dict[str, Any]]:
    """Describe names that stand more than once as validation errors, except those that may stand several times."""
    return [_detail(name, place) for name, count in Counter(names).items() if count > 1 and name not in several]


def repeated_keys(text: bytes | bytearray, *, place: tuple[str, ...]) -> list[dict[str, Any]]:
    """Describe the first key that stands twice in an object of a valid JSON document, as a validation error.

    Parsers keep the last. Long texts, which are images, are left out before the document is parsed again.
    """
    repeated: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        repeated.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)

    skeleton = _without_long_texts(text)
    if skeleton is not None:
        try:
            json.loads(skeleton, object_pairs_hook=note)
        except (ValueError, RecursionError):
            return []  # the parser of the body reports it
    return [_detail(name, place) for name in repeated[:1]]


def _detail(name: str, place: tuple[str, ...]) -> dict[str, Any]:
    return {"loc": (*place, name), "msg": "given more than once: send one value", "type": "repeated"}


def _without_long_texts(text: bytes | bytearray) -> bytes | None:
    """Return the document with its long texts empty; `None` where it has too much else."""
    kept, size, quotes, at = list[bytes | bytearray](), 0, _quotes(text), 0
    for start, end in zip(quotes, quotes, strict=False):
        whole = text[start : end + 1] if end - start < _KEPT_BYTES else b'""'
        kept += [text[at:start], whole]
        size, at = size + start - at + len(whole), end + 1
        if size > _MAX_BYTES:
            return None
    return b"".join([*kept, text[at:]]) if size + len(text) - at <= _MAX_BYTES else None


def _quotes(text: bytes | bytearray) -> Iterator[int]:
    """Yield where texts begin and end, in turn, up to a number of quotes: one behind a backslash may be within."""
    at = 0
    for _ in range(_MAX_QUOTES):
        quote = text.find(b'"', at)
        if quote < 0:
            return
        if text[quote - 1 : quote] != _ESCAPE or (quote - len(text[at:quote].rstrip(_ESCAPE)) - at) % 2 == 0:
            yield quote
        at = quote + 1
