"""Writes the table of errors in functions/README.md from the classes: `python infra/make_tables.py`."""

import re
from collections.abc import Iterator
from pathlib import Path

from functions.batch import errors as of_files
from heatlens import errors
from heatlens.errors import HeatlensError, ModelError
from heatlens_aws import errors as of_aws
from heatlens_web import http_errors
from heatlens_web.errors import status_of

PAGE = Path(__file__).parents[1] / "functions" / "README.md"
MODULES = (errors, of_aws, http_errors)
HEAD = "| code | status | when |\n|---|---|---|\n"


def leaves() -> list[type[HeatlensError]]:
    """Every error that an answer can carry, in the order of their statuses; the base is for what nobody foresaw."""
    classes = [each for module in MODULES for each in _classes(module) if not issubclass(each, ModelError)]
    found = [each for each in classes if not any(other is not each and issubclass(other, each) for other in classes)]
    return sorted([*found, HeatlensError], key=lambda each: (status_of(each), each.code))


def of_staged_files() -> list[type[HeatlensError]]:
    """Every error that only a file of a staged batch can end with."""
    return sorted(_classes(of_files), key=lambda each: each.code)


def written(page: str) -> str:
    """The page with its tables as the classes have them."""
    answers = HEAD + "".join(f"| `{each.code}` | {status_of(each)} | {_when(each)} |\n" for each in leaves())
    files = "| code | when |\n|---|---|\n" + "".join(f"| `{x.code}` | {_when(x)} |\n" for x in of_staged_files())
    for name, table in {"errors": answers, "errors of files": files}.items():
        page = _placed(page, name, table)
    return page


def _placed(page: str, name: str, table: str) -> str:
    begin, end = f"<!-- {name}: make tables -->\n", f"<!-- end of {name} -->\n"
    place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(place.findall(page)) != 1:
        raise ValueError(f"{PAGE.name} has no place for the {name}")
    return place.sub(lambda _: begin + table + end, page)


def _classes(module: object) -> Iterator[type[HeatlensError]]:
    for each in vars(module).values():
        if isinstance(each, type) and issubclass(each, HeatlensError) and each.__module__ == module.__name__:  # type: ignore[attr-defined]
            yield each


def _when(error: type[HeatlensError]) -> str:
    """The first paragraph of its docstring."""
    paragraph = (error.__doc__ or "").partition("\n\n")[0]
    return " ".join(paragraph.split()).rstrip(".")


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
