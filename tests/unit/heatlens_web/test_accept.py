import pytest

from heatlens.types import Format, Options
from heatlens_web.accept import picture_format, picture_options


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", None),
        ("application/json", None),
        ("image/png", "png"),
        ("IMAGE/WEBP", "webp"),
        ("image/*", "jpeg"),  # the option
        ("application/json;q=0.5, image/png", "png"),
        ("application/json, image/png;q=0.5", None),
        ("image/png;q=0", None),
        ("image/png;q=high", None),
        ("text/html", None),
        ("", None),
    ],
)
def test_accept_selects_the_format_of_the_overlay_or_json(accept: str, expected: Format | None) -> None:
    assert picture_format(accept, "jpeg") == expected


def test_a_response_that_is_the_overlay_includes_nothing_else() -> None:
    options = Options(format="jpeg")

    assert picture_options(options, accept="image/webp") == Options(include=frozenset({"overlay"}), format="webp")
    assert picture_options(options, accept="*/*") == options
