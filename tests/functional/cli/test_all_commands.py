"""What all commands share: help with an example, suggestions, errors of one line, tracebacks on demand."""

import os
import shlex
import subprocess
import sys

import pytest
from typer.main import get_command

from heatlens_cli.main import app
from tests.support.paths import HEATLENS, SAMPLES

JPEG = SAMPLES / "phantom-03-opacity.jpg"
ROOT = get_command(app)


def commands() -> dict[str, object]:
    """Every command, by the words that call it."""
    found: dict[str, object] = {}
    waiting = [("", ROOT)]
    while waiting:
        words, command = waiting.pop()
        nested = getattr(command, "commands", None)
        if nested is None:
            found[words.strip()] = command
        else:
            waiting += [(f"{words} {name}", each) for name, each in nested.items()]
    return found


COMMANDS = commands()


def heatlens(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HEATLENS, *map(str, words)], capture_output=True, check=False, text=True, timeout=120, env=os.environ | env
    )


def test_the_commands_are_those_that_people_are_told() -> None:
    assert set(COMMANDS) >= {
        *("explain", "predict", "compile", "inspect", "init-model", "serve", "verify", "redrive"),
        *("doctor", "bench", "cost", "completion", "batch run", "dicom watch", "dev invoke", "dev event"),
    }


@pytest.mark.parametrize("words", COMMANDS)
def test_the_help_of_a_command_has_an_example_that_its_options_accept(words: str) -> None:
    command = COMMANDS[words]
    example = command.epilog or command.help  # type: ignore[attr-defined]
    assert "Example: heatlens " in example
    line = example.partition("Example: ")[2].strip().splitlines()[0]
    _, *given = shlex.split(line.partition(" > ")[0].partition(" | ")[0])
    assert given[: len(words.split())] == words.split()

    command.make_context(words, given[len(words.split()) :])  # type: ignore[attr-defined]


@pytest.mark.parametrize("columns", ["80", "200"])
@pytest.mark.parametrize("words", ["", "explain", "batch run"])
def test_help_fits_the_terminal(words: str, columns: str) -> None:
    program = "from heatlens_cli.main import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words.split(), "--help"],
        capture_output=True,
        check=True,
        text=True,
        env=os.environ | {"COLUMNS": columns, "TERMINAL_WIDTH": columns},
    )

    assert max(map(len, done.stdout.splitlines())) <= int(columns)


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["explan", "a.png"], "explain"),
        (["explain", "--targt", "A", "a.png"], "--target"),
        (["dev", "invke"], "invoke"),
    ],
)
def test_an_unknown_word_suggests_another(words: list[str], suggestion: str) -> None:
    done = heatlens(*words)

    assert done.returncode == 2
    assert suggestion in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_is_not_there_is_named_in_full() -> None:
    for command in ("explain", "predict", "bench", "cost"):
        done = heatlens(command, JPEG, "--model", "/nope/model")

        assert (done.returncode, done.stderr.count("\n")) == (1, 1), command
        assert done.stderr.startswith("/nope/model: "), command


def test_a_wrong_option_fails_once_before_any_file() -> None:
    done = heatlens("explain", JPEG, SAMPLES / "phantom-04-clear.png", "--target", "top-99")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


FAILING = """
import sys
from heatlens_cli.main import app
import heatlens_cli.doctor
def fail(_):
    raise RuntimeError("a bug")
    yield
heatlens_cli.doctor.examine = fail
app()
"""


def test_an_unforeseen_error_has_a_traceback_only_with_debug() -> None:
    plain, debug = (
        subprocess.run([sys.executable, "-c", FAILING, *words], capture_output=True, check=False, text=True)
        for words in (["doctor"], ["--debug", "doctor"])
    )

    assert plain.returncode == debug.returncode == 1
    assert plain.stderr.startswith("internal error: RuntimeError: a bug. Run heatlens --debug COMMAND")
    assert plain.stderr.count("\n") == 1
    assert 'raise RuntimeError("a bug")' in debug.stderr or "RuntimeError: a bug\n" in debug.stderr
    assert "Traceback" in debug.stderr


@pytest.mark.parametrize(("env", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colors_are_off_where_they_are_not_wanted(env: dict[str, str], colored: bool) -> None:  # noqa: FBT001
    ours, its = os.openpty()
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    with subprocess.Popen([HEATLENS, "--help"], stdout=its, env=clean | {"TERM": "xterm"} | env) as shown:
        os.close(its)
        output = b"".join(iter(lambda: _read(ours), b""))

    assert shown.returncode == 0
    assert (b"\x1b[3" in output or b"\x1b[1;3" in output) is colored


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the terminal's end
        return b""
