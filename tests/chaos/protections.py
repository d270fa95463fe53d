"""The protections, each with a way to switch it off from outside: the campaign must then fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args
from unittest.mock import patch

from functions.batch import tasks
from tests.chaos.hooks import Call, Hook

Protection = Literal["condition", "attempts", "versions"]
PROTECTIONS: tuple[Protection, ...] = get_args(Protection)


class Unconditional(Hook):
    """A file's end is written whether it has one or not."""

    def asked(self, call: Call) -> None:
        row = call.params.get("Key") or call.params.get("Item") or {}
        condition = call.params.get("ConditionExpression")
        if condition and row.get("SK", {}).get("S", "").startswith("F#"):
            # Not simply taken away: values that no expression uses are refused, and an update would make a new row.
            call.params["ConditionExpression"] = f"({condition}) OR attribute_exists(PK)"


class Unpinned(Hook):
    """A read takes what the key holds now, whatever the event spoke of."""

    def asked(self, call: Call) -> None:
        if call.name == "GetObject":
            call.params.pop("VersionId", None)
            call.params.pop("IfMatch", None)


HOOKS: dict[str, Callable[[], Hook]] = {"condition": Unconditional, "versions": Unpinned}


@contextmanager
def one_attempt() -> Iterator[None]:
    """All attempts at a file write under one name."""
    with patch.object(tasks, "ULID", lambda: "0" * 26):
        yield
