import pytest
from pydantic import ValidationError

from heatlens.card import Preprocess
from heatlens.steps import Crop, Resize, resized_size
from tests.support.steps import SCALE, crop, recipe, resize


def test_the_short_form_is_a_list_of_steps() -> None:
    short = Preprocess(resize=256, crop=(224, 224), mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    same = recipe(
        resize(256, "shortest"),
        crop([224, 224]),
        SCALE,
        {"step": "normalize", "mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]},
    )

    assert short.all_steps == same.all_steps
    assert (short.shape, short.channels) == (same.shape, same.channels) == ((224, 224), 3)


def test_each_form_is_written_as_it_was_given() -> None:
    short = Preprocess(resize=(8, 8), mean=(0, 0, 0), std=(1, 1, 1))

    assert set(short.model_dump()) == {"resize", "crop", "interpolation", "mean", "std"}
    assert set(recipe(resize(8)).model_dump()) == {"steps"}
    assert Preprocess.model_validate(recipe(resize(8)).model_dump(mode="json")) == recipe(resize(8))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": [resize(8)], "mean": (0, 0, 0)}, "mean: the steps say everything, remove it"),
        ({"resize": (8, 8), "mean": (0, 0, 0)}, "std: missing: give resize, mean and std, or a list of steps"),
    ],
)
def test_a_mixture_of_both_forms_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Preprocess.model_validate(fields)


@pytest.mark.parametrize(
    ("size", "fit", "rounding", "expected"),
    [
        ((100, 201), "shortest", "down", (64, 128)),
        ((100, 201), "shortest", "nearest", (64, 129)),
        ((201, 100), "longest", "down", (64, 31)),
        ((201, 100), "longest", "nearest", (64, 32)),
        ((3, 100_000), "longest", "down", (1, 64)),
    ],
)
def test_the_other_side_is_rounded_as_the_library_does(
    size: tuple[int, int], fit: str, rounding: str, expected: tuple[int, int]
) -> None:
    step = Resize.model_validate({"size": 64, "fit": fit, "rounding": rounding})

    assert resized_size(size, step) == expected


@pytest.mark.parametrize(("rounding", "offset"), [("nearest", 2), ("down", 1), ("halves", 2)])
def test_an_odd_margin_is_split_as_the_library_does(rounding: str, offset: int) -> None:
    assert Crop.model_validate({"size": 5, "rounding": rounding}).offset(8, 5) == offset
