"""Switch off one protection at a time: the campaign must then fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args
from unittest.mock import patch

from functions.batch import tasks
from tests.chaos.hooks import Call, Hook

Protection = Literal["condition", "attempts", "versions"]
PROTECTIONS: tuple[Protection, ...] = get_args(Protection)


class Unconditional(Hook):
    """Writes a file's end even if it has ended."""

    def asked(self, call: Call) -> None:
        row = call.params.get("Key") or call.params.get("Item") or {}
        condition = call.params.get("ConditionExpression")
        if condition and row.get("SK", {}).get("S", "").startswith("F#"):
            # Not simply taken away: values that no expression uses are refused, and an update would make a new row.
            call.params["ConditionExpression"] = f"({condition}) OR attribute_exists(PK)"


class Unpinned(Hook):
    """Reads what the key holds now, whatever the event names."""

    def asked(self, call: Call) -> None:
        if call.name == "GetObject":
            call.params.pop("VersionId", None)
            call.params.pop("IfMatch", None)


HOOKS: dict[str, Callable[[], Hook]] = {"condition": Unconditional, "versions": Unpinned}


@contextmanager
def one_attempt() -> Iterator[None]:
    """Let all attempts at a file write under one prefix."""
    with patch.object(tasks, "ULID", lambda: "0" * 26):
        yield
