"""Write the generated tables, contents and reference of the documents: `python infra/make_tables.py`."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from functions.batch import errors as batch_errors
from heatlens import errors
from heatlens.errors import HeatlensError, ModelError
from heatlens_aws import errors as aws_errors
from heatlens_aws.metrics import METRICS, SERVER_METRICS
from heatlens_web import errors as web_errors
from heatlens_web.problems import status_of
from infra import make_command_options
from infra.contents import add_contents, long_documents
from infra.dashboard import dashboard_picture, dashboard_table
from infra.make_reference import reference_pages

MODULES = (errors, aws_errors, web_errors)
ROOT = Path(__file__).parents[1]
ERRORS_PAGE = ROOT / "functions" / "errors.md"
DECISIONS = ROOT / "infra" / "decisions"
OPERATIONS = ROOT / "infra" / "operations.md"
BENCHMARK = ROOT / "tests" / "benchmarks" / "ENGINE.md"
MEMORY_COLUMNS = 7  # of ENGINE.md's table of peak memory


def response_errors() -> list[type[HeatlensError]]:
    """List the errors that a response can carry, by status and code; the base class stands for unforeseen failures."""
    classes = [each for module in MODULES for each in _classes(module) if not issubclass(each, ModelError)]
    leaves = [each for each in classes if not any(other is not each and issubclass(other, each) for other in classes)]
    return sorted([*leaves, HeatlensError], key=lambda each: (status_of(each), each.code))


def staged_file_errors() -> list[type[HeatlensError]]:
    """List the errors that only a file of a staged batch can end with."""
    return sorted(_classes(batch_errors), key=lambda each: each.code)


def error_table() -> str:
    """Return the Markdown table of the errors that a response can carry."""
    rows = (f"| `{each.code}` | {status_of(each)} | {_meaning(each)} |\n" for each in response_errors())
    return "| code | status | when |\n|---|---|---|\n" + "".join(rows)


def file_error_table() -> str:
    """Return the Markdown table of the errors of staged files."""
    rows = (f"| `{each.code}` | {_meaning(each)} |\n" for each in staged_file_errors())
    return "| code | when |\n|---|---|\n" + "".join(rows)


def benchmark_table() -> str:
    """Return the README's Markdown table: one image, one class and peak memory, with the figures of ENGINE.md."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in BENCHMARK.read_text().splitlines()]
    times = [row for row in rows if row[1:3] == ["1", "1"]]
    memory = {row[0]: row for row in rows[rows.index(times[-1]) :] if len(row) == MEMORY_COLUMNS}
    head = "| network | Heatlens | pytorch-grad-cam | torch-cam | Captum | memory | pytorch-grad-cam's memory |\n"
    lines = (
        f"| {name} | {own} ms | {_factor(grad_cam)} | {_factor(torch_cam)} | {_factor(captum)} "
        f"| {memory[name][1]} MB | {memory[name][4]} MB |\n"
        for name, _, _, own, _, _, grad_cam, torch_cam, captum, _ in times
    )
    return head + "|---|---|---|---|---|---|---|\n" + "".join(lines)


def metric_table() -> str:
    """Return the Markdown table of all metrics, CloudWatch's first."""
    rows = (
        f"| `{each.name}` | {each.unit} | {', '.join(each.labels) or 'none'} "
        f"| {', '.join(each.where)} | {each.meaning} |\n"
        for each in (*METRICS, *SERVER_METRICS)
    )
    return "| name | unit | dimensions | where | meaning |\n|---|---|---|---|---|\n" + "".join(rows)


def decision_table() -> str:
    """Return the Markdown table of the decisions, by number."""
    pages = sorted(DECISIONS.glob("[0-9]*.md"))
    titles = [page.read_text().partition("\n")[0].removeprefix("# ").split(". ", 1) for page in pages]
    rows = (f"| {number} | [{title}]({page.name}) |\n" for page, (number, title) in zip(pages, titles, strict=True))
    return "| number | decision |\n|---|---|\n" + "".join(rows)


# Every generated table: its name in the document's markers, the document, and the function that writes it.
TABLES: dict[str, tuple[Path, Callable[[], str]]] = {
    "errors": (ERRORS_PAGE, error_table),
    "errors of files": (ERRORS_PAGE, file_error_table),
    "metrics": (ROOT / "functions" / "metrics.md", metric_table),
    "benchmark": (ROOT / "README.md", benchmark_table),
    "picture": (OPERATIONS, dashboard_picture),
    "widgets": (OPERATIONS, dashboard_table),
    "decisions": (DECISIONS / "README.md", decision_table),
}


def replace_table(text: str, name: str, table: str) -> str:
    """Replace the table between the markers `name` in a document's text.

    Raises:
        ValueError: The text does not contain the pair of markers exactly once.
    """
    begin, end = f"<!-- {name}: make tables -->\n", f"<!-- end of {name} -->\n"
    place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(place.findall(text)) != 1:
        raise ValueError(f"the document has no place for the {name}: {begin.strip()} … {end.strip()}")
    return place.sub(lambda _: begin + table + end, text)


def _factor(text: str) -> str:
    return text if text == "-" else f"{text}x"


def _classes(module: object) -> Iterator[type[HeatlensError]]:
    for each in vars(module).values():
        if isinstance(each, type) and issubclass(each, HeatlensError) and each.__module__ == module.__name__:  # type: ignore[attr-defined]
            yield each


def _meaning(error: type[HeatlensError]) -> str:
    """Return the first paragraph of the class's docstring as one line."""
    paragraph = (error.__doc__ or "").partition("\n\n")[0]
    return " ".join(paragraph.split()).rstrip(".")


if __name__ == "__main__":
    for name, (page, table) in TABLES.items():
        page.write_text(replace_table(page.read_text(), name, table()))
    for page, text in reference_pages().items():
        page.write_text(text)
    make_command_options.PAGE.write_text(make_command_options.option_page())
    for page in long_documents():
        page.write_text(add_contents(page.read_text()))
