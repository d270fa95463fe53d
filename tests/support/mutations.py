"""Mutate recorded events: every key removed, and every value replaced by one of another type."""

import copy
from collections.abc import Iterator
from typing import Any

OTHERS: list[Any] = [None, True, 0, -1.5, "", "x", "é\u2028", "\ud800"]
OTHERS += [[], [None], ["x"], {}, {"x": None}, {"x": ["x"]}, {"x": "x"}]
Path = tuple[str | int, ...]


def mutations(event: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield mutated copies of an event, each with the place and the kind of the mutation."""
    for path in _paths(event):
        yield f"{path} removed", _changed(event, path)
        for other in OTHERS:
            yield f"{path} = {other!r}", _changed(event, path, other)


def _paths(node: object, path: Path = ()) -> Iterator[Path]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from _paths(child, (*path, key))


def _changed(event: dict[str, Any], path: Path, *value: object) -> dict[str, Any]:
    changed: Any = copy.deepcopy(event)
    node = changed
    for key in path[:-1]:
        node = node[key]
    if value:
        node[path[-1]] = value[0]
    else:
        del node[path[-1]]
    assert isinstance(changed, dict)
    return changed
