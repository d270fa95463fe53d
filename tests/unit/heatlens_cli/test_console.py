"""Text is printed without control characters, and a failing standard output is an error of its own."""

import io

import pytest
from rich.console import Console

from heatlens_cli import console
from heatlens_cli.console import OutputFailed, complain, say, shown


def test_control_characters_and_surrogates_of_a_name_are_replaced() -> None:
    assert shown("sc\x1b[31man\r\n\udcff\u202e.png") == "sc�[31man����.png"


def test_markup_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    say("[bold]a\x07\nb")
    complain("[/x]\x1b")

    assert capsys.readouterr() == ("[bold]a�\nb\n", "[/x]�\n")


def test_a_failing_output_is_no_file_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(console, "out", Console(file=Full()))

    with pytest.raises(OutputFailed, match="No space left on device"):
        say("x")
