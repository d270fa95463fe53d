"""Find the line of a key in a TOML text, for error messages; `tomllib` keeps no lines."""

import re
from collections import Counter

Path = tuple[str | int, ...]

_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_ARRAY = re.compile(r"\s*\[\[\s*([^\[\]]+?)\s*\]\]\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_STRING = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\])*"|\'[^\']*\'|#.*')


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """Map each key and table to its line, from 1.

    It understands what descriptions use: tables and arrays of them; bare, quoted and dotted keys; values over several
    lines. Keys of an inline table have the line of the table.
    """
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    counts: Counter[tuple[str, ...]] = Counter()
    depth, quote = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if not depth and not quote:
            if header := _ARRAY.match(line):
                array = _parts(header[1])
                found.setdefault(array, number)
                table = (*array, str(counts[array]))
                counts[array] += 1
                found.setdefault(table, number)
                continue
            if header := _TABLE.match(line):
                table = _parts(header[1])
                found.setdefault(table, number)
                continue
            if key := _KEY.match(line):
                found.setdefault(table + _parts(key[1]), number)
        depth, quote = _open(line, depth, quote)
    return found


def line_of(text: str, path: Path) -> int | None:
    """Find the line of the deepest part of `path` that the text has, `None` if it has none."""
    lines = lines_of(text)
    keys = tuple(str(part) for part in path)
    return next((lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in lines), None)


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _open(line: str, depth: int, quote: str) -> tuple[int, str]:
    """Return the bracket depth and the open multi-line quote after the line."""
    while quote:
        _, closed, line = line.partition(quote)
        if not closed:
            return depth, quote
        quote = ""
    rest = ""
    while string := _STRING.search(line):
        rest += line[: string.start()]
        token, line = string[0], line[string.end() :]
        if token in ('"""', "'''"):
            _, closed, line = line.partition(token)
            if not closed:
                return _balance(rest, depth), token
    return _balance(rest + line, depth), ""


def _balance(code: str, depth: int) -> int:
    return depth + sum(code.count(each) for each in "[{") - sum(code.count(each) for each in "]}")
