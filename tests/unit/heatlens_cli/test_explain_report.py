import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from heatlens_cli.explain_report import FAILURES_SHOWN, JsonLines, Report, Table
from heatlens_cli.file_explanation import ClassHeatmap, FileExplanation

A, B = Path("ward/a.png"), Path("ward/b.png")


def answer(*labels: str) -> FileExplanation:
    heatmaps = tuple(ClassHeatmap(label, (0,), 0.25, "weak", {}) for label in labels)
    return FileExplanation("A", 0.75, heatmaps, ["a note"], ["a warning"], {"width": 4})


def run(report: Report, *calls: Callable[[], None]) -> None:
    with report.running([A, B]):
        for call in calls:
            call()
    report.summary(len(calls))


def test_a_line_has_folder_class_quality_and_what_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("Not for medical use.")

    run(table, lambda: table.explained(A, answer("A", "B"), [[Path("out/1"), Path("out/2")], [Path("out/3")]]))

    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines()]
    assert rows == [
        ["file", "prediction", "probability", "quality", "heatmap"],
        ["ward/a.png", "A", "0.7500", "weak", "out/1", "out/2"],
        ["ward/a.png", "A", "0.7500", "weak", "out/3", "explains", "B", "(0.2500)"],
        ["warning:", "a", "warning"],
        ["note:", "a", "note"],
        ["notice:", "Not", "for", "medical", "use."],
    ]
    assert printed.err == ""


@pytest.mark.parametrize(("columns", "has_paths"), [(80, False), (200, True)])
def test_a_narrow_terminal_shows_no_paths(
    columns: int,
    has_paths: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Console(force_terminal=True, width=columns, file=io.StringIO(), soft_wrap=True, highlight=False)
    monkeypatch.setattr("heatlens_cli.explain_report.out", terminal)
    monkeypatch.setattr("heatlens_cli.console.out", terminal)
    monkeypatch.setattr("heatlens_cli.progress.out", terminal)
    table = Table(folder=Path("out"))

    run(table, lambda: table.explained(A, answer("A"), [[Path("out/1.png")]]))

    assert isinstance(terminal.file, io.StringIO)
    written = terminal.file.getvalue()
    assert ("out/1.png" in written) is has_paths
    assert ("quality  heatmap" in written) is has_paths
    assert ("heatmaps: out" in written) is not has_paths
    assert "ward/a.png A" in written


def test_failures_are_summed_up_where_lines_came_after_them(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()

    run(table, lambda: table.failed(A, "damaged"), lambda: table.explained(B, answer("A"), [[]]))

    assert capsys.readouterr().err == "ward/a.png: damaged\n1 of 2 files failed:\n  ward/a.png: damaged\n"


def test_a_last_failure_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()

    run(table, lambda: table.explained(B, answer("A"), [[]]), lambda: table.failed(A, "damaged"))

    assert capsys.readouterr().err == "ward/a.png: damaged\n"


def test_a_summary_of_many_failures_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()

    run(table, *[lambda: table.failed(A, "damaged")] * 1000, lambda: table.explained(B, answer("A"), [[]]))

    summary = capsys.readouterr().err.splitlines()[1000:]
    assert len(summary) == FAILURES_SHOWN + 2
    assert summary[-1] == "  and 980 more, above"


def test_json_has_an_object_for_each_file(capsys: pytest.CaptureFixture[str]) -> None:
    report = JsonLines()
    odd = Path("ward/\x1b[31m.png")

    run(report, lambda: report.explained(A, answer("A"), [[Path("out/1")]]), lambda: report.failed(odd, "damaged"))

    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"file": "ward/a.png", "files": ["out/1"], "quality": "weak", "warnings": ["a warning"], "width": 4}
    assert second == {"file": str(odd), "error": "damaged"}
