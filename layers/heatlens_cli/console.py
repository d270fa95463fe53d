"""Print to the consoles of every command, whatever the terminal, the pipe or the text."""

import io
import os
import sys
from textwrap import fill

from rich.console import Console
from rich.markup import escape

BROKEN_PIPE = 141  # exit status by the shells' convention: 128 plus the number of SIGPIPE


class _Console(Console):
    """Ends the command as SIGPIPE would, where its reader has left."""

    def on_broken_pipe(self) -> None:
        """End the command without a message."""
        self.quiet = True
        discard_output()
        raise SystemExit(BROKEN_PIPE)


out = _Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class OutputFailed(Exception):
    """Standard output cannot be written; not an `OSError`, which commands report of their own files."""


def say(text: str) -> None:
    """Print text to standard output, without control characters.

    Raises:
        OutputFailed: Standard output cannot be written.
    """
    try:
        out.print(_printable_lines(text))
    except OSError as error:
        raise OutputFailed(error.strerror) from error


def say_row(text: str, column: int) -> None:
    """Print a row of a table; on a terminal the text of its last column, which begins at `column`, is wrapped.

    Raises:
        OutputFailed: Standard output cannot be written.
    """
    if out.is_terminal:
        text = fill(text, out.width, subsequent_indent=" " * column, break_on_hyphens=False, break_long_words=False)
    say(text)


def complain(text: str) -> None:
    """Print text to standard error, without control characters."""
    err.print(_printable_lines(text))


def shown(name: object) -> str:
    """Return a file name with characters that cannot be printed replaced, line breaks included."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(name))


def escape_unencodable() -> None:
    r"""Let both streams write characters that their encoding lacks as `\x..` or `\u....`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Drop what standard output still holds, so that the interpreter does not fail on it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _printable_lines(text: str) -> str:
    return escape("\n".join(map(shown, text.split("\n"))))
