"""Write the page of all commands and their options from the command line itself: `make tables` calls it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from heatlens_cli.main import app
from infra.contents import add_contents

PAGE = Path(__file__).parents[1] / "layers" / "command-options.md"
HEAD = """# Commands and options

<!-- Written by `make tables` from the commands: change those. -->

`heatlens COMMAND --help` prints the same. [command-line.md](command-line.md) explains the commands.
`heatlens --version` prints the version, `heatlens --debug COMMAND` the traceback of an error.
"""


def option_page() -> str:
    """Return the text of the page."""
    return add_contents("\n".join([HEAD, *(line for words, command in walk() for line in _section(words, command))]))


def walk() -> Iterator[tuple[str, Any]]:
    """Yield each command with the words that call it, in the order of the help."""
    yield from _walk("heatlens", get_command(app))


def _walk(words: str, command: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - typer's own class
    nested = getattr(command, "commands", None)
    if nested is None:
        yield words, command
        return
    for name, each in nested.items():
        yield from _walk(f"{words} {name}", each)


def _section(words: str, command: Any) -> Iterator[str]:  # noqa: ANN401
    yield f"## {words}\n"
    yield f"{command.help}\n"
    rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
    if rows:
        yield from ("| argument or option | default | meaning |", "|---|---|---|", *rows, "")
    yield from ("```", command.epilog.removeprefix("Example: "), "```", "")


def _row(parameter: Any) -> str:  # noqa: ANN401
    is_option = parameter.param_type_name == "option"
    name = ", ".join(parameter.opts) if is_option else (parameter.metavar or str(parameter.name).upper())
    default = parameter.default() if callable(parameter.default) else parameter.default
    shown = "required" if parameter.required else "" if default in (None, False, [], ()) else f"`{default}`"
    meaning = (parameter.help or "").replace("|", "\\|")
    return f"| `{name}` | {shown} | {meaning} |"
