"""The table of contents of a long document."""

from infra.contents import BEGIN, END, add_contents

FILL = "A line.\n" * 101


def test_a_long_document_lists_its_sections_before_the_first() -> None:
    page = add_contents(f"# Title\n\nText.\n\n## First `one`\n\n```sh\n## no heading\n```\n\n## And then\n\n{FILL}")

    assert page.startswith(
        f"# Title\n\nText.\n\n{BEGIN}\n| on this page |\n|---|\n"
        f"| [First `one`](#first-one) · [And then](#and-then) |\n{END}\n\n## First `one`\n"
    )


def test_parts_are_listed_where_most_sections_have_some() -> None:
    page = add_contents(f"# Title\n\n## A\n\n### A1\n\n### A2\n\n## B\n\n{FILL}")

    assert "| [A](#a) | [A1](#a1) · [A2](#a2) |\n| [B](#b) |  |\n" in page


def test_contents_are_replaced_and_not_counted() -> None:
    once = add_contents(f"# Title\n\n## A\n\n{FILL}")

    assert add_contents(once) == once
    assert add_contents(once.replace("## A", "## B")).count("on this page") == 1
    assert "[B](#b)" in add_contents(once.replace("## A", "## B"))


def test_a_short_document_has_none() -> None:
    short = "# Title\n\n## A\n\nText.\n"

    assert add_contents(short) == short
    assert add_contents(add_contents(short + FILL).replace(FILL, "")) == short
