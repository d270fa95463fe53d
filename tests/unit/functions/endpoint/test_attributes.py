import pytest

from functions.endpoint.attributes import names_option


@pytest.mark.parametrize(
    "text",
    [
        "colormap=hot",
        "a=b&alpha=0.5",
        "COLORMAP = hot",
        "colourmap=hot",
        "tresholds=1",
        "strip-original=true",
        "x:1,method:a",
    ],
)
def test_an_option_or_a_misspelled_one_is_seen(text: str) -> None:
    assert names_option(text)


@pytest.mark.parametrize("text", ["colormap", "hot", "tfs-method=predict", "span_id=1", "a&b", "=", "targets"])
def test_other_text_names_no_option(text: str) -> None:
    assert not names_option(text)
