"""A mark at a known place comes back from the model's input to its place in the original."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from heatlens.card import Preprocess
from heatlens.input.geometry import Span, stages, view_of
from heatlens.input.preprocess import preprocess
from heatlens.steps import Crop, Pad, Resize, Scale
from heatlens.types import WHOLE

SIDE = 64


def recipe(*steps: dict[str, Any]) -> Preprocess:
    return Preprocess.model_validate({"steps": list(steps)})


def resize(**fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"step": "resize", "size": SIDE} | fields


SQUARE = {"step": "pad", "size": "square", "fill": 50}
LISTS = {
    "letterbox": recipe(resize(fit="longest", rounding="nearest"), {"step": "pad", "size": SIDE, "fill": 114}),
    "longest, at the top left": recipe(
        resize(fit="longest"), {"step": "pad", "size": [SIDE, SIDE + 6], "place": "top_left"}
    ),
    "shortest and crop": recipe(resize(fit="shortest", size=80), {"step": "crop", "size": [SIDE, 48]}),
    "stretch": recipe(resize(size=[48, SIDE])),
    "square and resize": recipe(SQUARE, resize()),
    "square and resize by OpenCV": recipe(SQUARE, resize(library="opencv", interpolation="area")),
    "square crop": recipe({"step": "crop", "size": "square", "rounding": "down"}, resize(library="scikit-image")),
    "pad, then crop": recipe(SQUARE, resize(size=80), {"step": "crop", "size": SIDE}),
    "tensors and crop": recipe(resize(fit="shortest", library="torchvision"), {"step": "crop", "size": [SIDE, 40]}),
}


def marked(size: tuple[int, int], at: tuple[int, int], reach: int = 12) -> Image.Image:
    image = Image.new("L", size)
    image.paste(255, (at[0] - reach, at[1] - reach, at[0] + reach, at[1] + reach))
    return image


@pytest.mark.parametrize("size", [(300, 200), (200, 301)])
@pytest.mark.parametrize("name", LISTS)
def test_a_mark_is_found_where_it_lies(name: str, size: tuple[int, int]) -> None:
    how, place = LISTS[name], (size[0] // 2 - 20, size[1] // 2 + 30)
    dark, bright = (preprocess(image, how)[0] for image in (Image.new("L", size), marked(size, place)))
    weight = np.abs(bright - dark)
    height, width = weight.shape
    x = float((weight.sum(axis=0) * (np.arange(width) + 0.5)).sum() / weight.sum()) / width
    y = float((weight.sum(axis=1) * (np.arange(height) + 0.5)).sum() / weight.sum()) / height

    view = view_of(size, how)

    left, top, right, bottom = view.box
    first, upper, last, lower = view.part
    assert left + (x - first) / (last - first) * (right - left) == pytest.approx(place[0], abs=1)
    assert top + (y - upper) / (lower - upper) * (bottom - top) == pytest.approx(place[1], abs=1)


@pytest.mark.parametrize(
    ("name", "size", "box", "part"),
    [
        ("letterbox", (300, 200), (0, 0, 300, 200), (0, 10 / 64, 1, 53 / 64)),
        ("letterbox", (64, 64), (0, 0, 64, 64), WHOLE),
        ("longest, at the top left", (200, 400), (0, 0, 200, 400), (0, 0, 32 / 70, 1)),
        ("shortest and crop", (300, 200), (90, 20, 210, 180), WHOLE),
        ("stretch", (300, 200), (0, 0, 300, 200), WHOLE),
        ("square and resize", (300, 100), (0, 0, 300, 100), (0, 1 / 3, 1, 2 / 3)),
        ("square crop", (301, 200), (50, 0, 250, 200), WHOLE),
        ("pad, then crop", (300, 100), (30, 0, 270, 100), (0, 23.333333 / 64, 1, 50 / 64 - 1e-9)),
    ],
)
def test_the_part_that_is_seen(
    name: str, size: tuple[int, int], box: tuple[int, int, int, int], part: tuple[float, float, float, float]
) -> None:
    view = view_of(size, LISTS[name])

    assert view.box == box
    if name != "pad, then crop":
        assert view.part == pytest.approx(part, abs=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
@pytest.mark.parametrize("name", LISTS)
def test_the_part_is_never_empty_and_never_outside(name: str, size: tuple[int, int]) -> None:
    view = view_of(size, LISTS[name])

    left, top, right, bottom = view.box
    first, upper, last, lower = view.part
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    assert 0 <= first < last <= 1
    assert 0 <= upper < lower <= 1


def test_the_steps_around_a_resize_are_one_stage() -> None:
    steps = (Pad(size="square"), Resize(size=8), Crop(size=6), Crop(size=4), Scale())

    first, second, third = stages(steps)

    assert [type(step) for step in getattr(first, "steps", ())] == [Pad, Resize, Crop]
    assert (second, third) == (Crop(size=4), Scale())


def test_an_axis_follows_its_pixels() -> None:
    axis = Span(100, 100).moved(-50, 200).resized(20).moved(3, 10)

    assert (axis.length, axis.scale, axis.origin) == (10, 10, -2)
    assert axis.seen() == (0, 80, 0.2, 1.0)
