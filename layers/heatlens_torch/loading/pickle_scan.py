"""List the globals that a checkpoint's pickle would call, without running any, and replace them by inert stand-ins.

A pickle names classes and functions ("globals") and says how to call them. torch's `weights_only` reader accepts those
that make tensors and refuses all others, which most checkpoints have: hyper-parameters in a `Namespace`, numpy scalars,
a callback's state. Here the pickle's instructions are read as data, never executed. Each unknown global gets a stand-in
that keeps its arguments and does nothing.
"""

import _compat_pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

LEGACY_PICKLES = 5  # before torch 1.6: magic number, protocol, machine, the object, names of its storages
_CALLS = {"REDUCE", "NEWOBJ"}
_FILLS = {"SETITEM": "filled", "SETITEMS": "filled", "APPEND": "appended", "APPENDS": "appended"}
_STORES = {"PUT", "BINPUT", "LONG_BINPUT"}
_RECALLS = {"GET", "BINGET", "LONG_BINGET"}


@dataclass(slots=True)
class Uses:
    """Globals of a pickle as `module.name`: all, and those whose result is filled like a dict or appended to."""

    named: set[str] = field(default_factory=set)
    filled: set[str] = field(default_factory=set)
    appended: set[str] = field(default_factory=set)


class Inert:
    """Stands for an object of an unknown class; `contents` would have become its attributes or items."""

    origin = ""
    contents: object = None

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        """Ignore the arguments: they mean nothing without the unknown constructor."""

    def __setstate__(self, state: object) -> None:
        self.contents = state


class Stubs:
    """The stand-ins of one checkpoint, and which of them were used."""

    def __init__(self, uses: Uses) -> None:
        self._made: dict[int, tuple[str, object]] = {}  # by identity; the object is held so that its id is not reused
        self._called: set[str] = set()
        self._classes = {name: self._stub(name, uses) for name in sorted(uses.named)}
        self._made |= {id(stub): (name, stub) for name, stub in self._classes.items()}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let torch's `weights_only` reader accept the stand-ins; globals that torch knows take precedence."""
        with torch.serialization.safe_globals([(stub, name) for name, stub in self._classes.items()]):
            yield

    def origin(self, value: object) -> str | None:
        """Return the global that `value` stands for or was made by, `None` for real data."""
        if isinstance(value, Inert):
            return value.origin
        name, _ = self._made.get(id(value), (None, None))
        return name

    def origins(self, content: object) -> set[str]:
        """List the unknown globals in a value: as themselves, and by the objects that they made."""
        return {name for value in walk(content) if (name := self.origin(value))}

    def unknown_globals(self, content: object) -> tuple[str, ...]:
        """List every unknown global of the content, called or referred to."""
        return tuple(sorted(self._called | self.origins(content)))

    def _stub(self, name: str, uses: Uses) -> type:
        stubs = self

        def make(cls: type[Inert], *args: object, **_kwargs: object) -> object:
            stubs._called |= {name} | stubs.origins(args)
            # torch fills only its own three kinds of dict, and extends only the plain list.
            if name in uses.filled or name in uses.appended:
                container: object = OrderedDict() if name in uses.filled else []
                stubs._made[id(container)] = name, container
                return container
            return object.__new__(cls)

        return type("Inert", (Inert,), {"origin": name, "__new__": make})


def walk(content: object) -> Iterator[object]:
    """Yield a value and everything in it, each once: in dicts and their attributes, lists, tuples, sets, stand-ins."""
    seen: set[int] = set()
    pending = [content]
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values(), *getattr(value, "__dict__", {}).values()]
        elif isinstance(value, list | tuple | set | frozenset):
            pending += value
        elif isinstance(value, Inert):
            pending.append(value.contents)


def uses_of(path: Path) -> Uses:
    """List the globals that the pickles of a `torch.save` file would call.

    Raises:
        ValueError: It is not such a file, or its pickle is malformed.
        OSError: It cannot be read.
    """
    uses = Uses()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next((each for each in archive.namelist() if each.rpartition("/")[2] == "data.pkl"), None)
            if name is None:
                raise ValueError("no data.pkl")
            _trace(BytesIO(archive.read(name)), uses)
    else:
        with path.open("rb") as stream:
            for _ in range(LEGACY_PICKLES):
                _trace(stream, uses)
    return uses


def is_torchscript(path: Path) -> bool:
    """Tell whether the file is an archive of a scripted or traced module."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())


@dataclass(frozen=True, slots=True)
class _Named:
    """On the tracer's stack: a global, or the result of calling it."""

    name: str
    made: bool


def _trace(stream: Any, uses: Uses) -> None:  # noqa: ANN401 - pickletools wants any readable
    """Follow one pickle's stack, keeping for each entry only which global made it."""
    stack: list[object] = []
    memo: dict[object, object] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "GLOBAL":
            name = _modern(str(argument))
            uses.named.add(name)
            stack.append(_Named(name, made=False))
        elif opcode.name in _STORES:
            memo[argument] = stack[-1]
        elif opcode.name in _RECALLS:
            stack.append(memo.get(argument))
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        else:
            _step(opcode, stack, uses)


def _step(opcode: pickletools.OpcodeInfo, stack: list[object], uses: Uses) -> None:
    taken = _take(opcode, stack)
    if opcode.name in _CALLS:
        callee = taken[0]
        stack.append(_Named(callee.name, made=True) if isinstance(callee, _Named) else None)
    elif opcode.name in _FILLS or opcode.name == "BUILD":
        target = taken[0]
        if opcode.name in _FILLS and isinstance(target, _Named) and target.made:
            getattr(uses, _FILLS[opcode.name]).add(target.name)
        stack.append(target)
    else:
        stack += [pickletools.markobject if each is pickletools.markobject else None for each in opcode.stack_after]


def _take(opcode: pickletools.OpcodeInfo, stack: list[object]) -> list[object]:
    """Pop what the instruction consumes, and return it without its mark."""
    before = opcode.stack_before
    taken: list[object] = []
    try:
        if pickletools.markobject in before:
            while (value := stack.pop()) is not pickletools.markobject:
                taken.insert(0, value)
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            taken.insert(0, stack.pop())
    except IndexError:
        raise ValueError("an instruction takes more than there is") from None
    return taken


def _modern(argument: str) -> str:
    """Write the `module name` of a GLOBAL instruction as `module.name`, translating Python 2's names as torch does."""
    module, _, name = argument.partition(" ")
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return ".".join(_compat_pickle.NAME_MAPPING[module, name])
    return f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}"
