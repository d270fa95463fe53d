import pytest

from heatlens_web.problems import InvalidRequest
from heatlens_web.schemas.options import HeatmapOptions, ModelOptions
from heatlens_web.text_options import check_names, read_text_options

PLACE = ("header", "x")


def test_lists_keep_all_of_a_repeated_option() -> None:
    pairs = [("alpha", "0.5"), ("target", "a"), ("target", "b,c")]

    options = read_text_options(HeatmapOptions, pairs, place=PLACE)

    assert (options.alpha, options.target) == (0.5, ["a", "b,c"])
    assert options.model_fields_set == {"alpha", "target"}


@pytest.mark.parametrize("pairs", [[("alpha", "9")], [("alpa", "0.5")], [("alpha", "0.3"), ("alpha", "0.5")]])
def test_a_mistake_is_located_at_the_place(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_text_options(HeatmapOptions, pairs, place=PLACE)

    assert [error["loc"] for error in refused.value.errors] == [[*PLACE, pairs[0][0]]]


@pytest.mark.parametrize("name", ["_", "token", "ID_TOKEN", "X-Amz-Date", "utm_campaign"])
def test_harmless_names_are_ignored(name: str) -> None:
    check_names([name], [], place=PLACE)

    assert read_text_options(ModelOptions, [(name, "1")], place=PLACE) == ModelOptions()


@pytest.mark.parametrize("name", ["__", "tokens", "x-amz", "_alpha", ""])
def test_names_that_resemble_harmless_ones_are_not(name: str) -> None:
    with pytest.raises(InvalidRequest):
        check_names([name], ["alpha"], place=PLACE)
