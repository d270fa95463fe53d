"""Write the table of contents of long documents: `make tables` calls it."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (".", "functions", "infra", "infra/decisions", "layers", "tests")
LONG = 100  # lines, of which a document with more has a table of contents
# The README begins with what the project does; the others are written by commands of their own, or are a list.
WITHOUT = {
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *(ROOT / "layers" / f"{name}.md" for name in ("FAMILIES", "HUGGING-FACE", "METHODS", "OWNERS", "PARITY")),
}
BEGIN, END = "<!-- contents: make tables -->", "<!-- end of contents -->"
BLOCK = re.compile(rf"{BEGIN}\n.*?{END}\n\n", re.DOTALL)
CODE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)


def long_documents() -> list[Path]:
    """List the documents that have a table of contents."""
    pages = (page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md")) if page not in WITHOUT)
    return [page for page in pages if is_long(page.read_text(encoding="utf-8"))]


def is_long(text: str) -> bool:
    """Whether a document needs a table of contents; the one that it has does not count."""
    return BLOCK.sub("", text).count("\n") > LONG


def add_contents(text: str) -> str:
    """Put the table of contents before the first section, in place of an earlier one; a short document has none."""
    bare = BLOCK.sub("", text)
    if not is_long(text):
        return bare
    first = re.search(r"^## ", bare, re.MULTILINE)
    assert first is not None, "a long document has sections"
    return f"{bare[: first.start()]}{BEGIN}\n{_table(bare)}{END}\n\n{bare[first.start() :]}"


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _table(text: str) -> str:
    """Return the sections of a document, with their parts where most sections have some."""
    sections = list(_sections(text))
    if sum(len(parts) for _, parts in sections) < len(sections):
        return f"| on this page |\n|---|\n| {_links(heading for heading, _ in sections)} |\n"
    rows = (f"| {_link(heading)} | {_links(parts)} |\n" for heading, parts in sections)
    return "| on this page | |\n|---|---|\n" + "".join(rows)


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the headings of the second level, each with those of the third below it."""
    headings = re.findall(r"^(##+) (.+)$", CODE.sub("", text), re.MULTILINE)
    starts = [number for number, (level, _) in enumerate(headings) if level == "##"]
    for start, end in zip(starts, [*starts[1:], len(headings)], strict=True):
        yield headings[start][1], [heading for level, heading in headings[start:end] if level == "###"]


def _links(headings: Iterator[str] | list[str]) -> str:
    return " · ".join(_link(heading) for heading in headings)


def _link(heading: str) -> str:
    return f"[{heading}](#{anchor(heading)})"
