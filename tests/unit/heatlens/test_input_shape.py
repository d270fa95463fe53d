import pytest
from pydantic import ValidationError

from tests.support.steps import GRAY, NORMALIZE, SCALE, crop, pad, recipe, resize

VALUES: dict[str, object] = {"step": "values", "low": 0, "high": 1}


@pytest.mark.parametrize(
    ("steps", "shape", "channels"),
    [
        ([resize([32, 48])], (32, 48), 3),
        ([resize(40, "shortest"), crop([32, 40])], (32, 40), 3),
        ([resize([32, 48], "longest"), pad([32, 48])], (32, 48), 3),
        ([pad("square"), resize(32)], (32, 32), 3),
        ([pad("square"), resize(32, "shortest")], (32, 32), 3),
        ([crop("square"), resize(32, "longest")], (32, 32), 3),
        ([resize([32, 48]), resize(16, "longest")], (10, 16), 3),
        ([resize([32, 48]), crop("square")], (32, 32), 3),
        ([GRAY, resize(32), SCALE], (32, 32), 1),
        ([resize(32), {"step": "channels", "order": [0, 0, 2, 1]}, NORMALIZE], (32, 32), 4),
        ([{"step": "window", "low": 0, "high": 80}, resize(32)], (32, 32), 3),
        ([VALUES, SCALE, resize(32)], (32, 32), 3),
        ([VALUES, SCALE, crop("square"), resize(32)], (32, 32), 3),
    ],
)
def test_the_steps_lead_to_a_shape(steps: list[dict[str, object]], shape: tuple[int, int], channels: int) -> None:
    assert (recipe(*steps).shape, recipe(*steps).channels) == (shape, channels)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "at least 1 item"),
        ([resize(32), VALUES], "step 2 \\(values\\): it is how a file is read: put it first"),
        ([VALUES, {"step": "range", "low": 0, "high": 1}], "step 2 \\(range\\): it works on gray levels, and values"),
        ([VALUES, {"step": "clahe"}, resize(32)], "it works on gray levels, and values are none"),
        ([VALUES, resize(32, library="opencv", rounded=True)], "rounded: values are no gray levels"),
        ([{**VALUES, "low": 9}, resize(32)], "low must be under high"),
        ([{**VALUES, "scale": "bits"}, resize(32)], "rescaled values have no bits"),
        ([SCALE], "the input has no fixed shape"),
        ([resize(32, "longest")], "the input has no fixed shape"),
        ([pad("square")], "after padding to a square comes its resize"),
        ([resize(32, "shortest"), SCALE], "step 1 \\(resize\\): resize by the shorter side needs a crop"),
        ([resize(32, "shortest"), crop("square")], "resize by the shorter side needs a crop"),
        ([resize(32, "shortest"), crop(40)], "step 2 \\(crop\\): crop must lie within the resized image"),
        ([resize(32, "longest"), crop(16)], "crop must lie within"),
        ([crop(16), resize(32)], "crop must lie within"),
        ([resize(32, "longest"), pad([32, 16])], "the image may be larger"),
        ([resize(32), pad(40, fill=[1, 2])], "fill has 2 numbers for 3 channels"),
        ([SCALE, resize(32)], "step 2 \\(resize\\): it works on gray levels"),
        ([SCALE, crop("square"), resize(8)], "stands before the steps that change gray levels"),
        ([resize(32), SCALE, {"step": "range", "low": 0, "high": 1}], "it maps gray levels"),
        ([resize(32), {"step": "window", "low": 0, "high": 1}], "put it first"),
        ([GRAY, GRAY, resize(32)], "it makes one channel of three, and the image has 1 channel here"),
        (
            [resize(32), {"step": "channels", "order": [0, 1, 2, 3]}],
            "an image has no channel 3 here",
        ),
        ([GRAY, resize(32), {"step": "channels", "order": "BGR"}], "an image has no channel 2 here: it has 1 channel"),
        (
            [GRAY, resize(32), {"step": "normalize", "mean": [0, 0, 0], "std": [1, 1, 1]}],
            "3 means for 1 channel",
        ),
        ([resize(32), {"step": "normalize", "mean": [0, 0], "std": [1]}], "mean has 2 numbers and std 1"),
        ([resize(32), {"step": "normalize", "mean": [0], "std": [0]}], "greater than 0"),
        ([resize(32, interpolation="area")], "pillow has no 'area' here: it has nearest, bilinear"),
        ([resize(32, antialias=False)], "pillow cannot turn it off"),
        ([resize(32, rounded=False)], "Pillow resizes to whole gray levels"),
        ([resize(32, border=0)], "border is of scikit-image"),
        ([resize(32), {"step": "scale", "factor": 0}], "factor 0 leaves nothing"),
        ([resize(32), {"step": "range", "low": 1, "high": 1}], "low and high are equal"),
        ([resize(32), {"step": "clip", "low": 1, "high": 0}], "low must be under high"),
        ([{"step": "window", "low": 1, "high": 0}, resize(32)], "low must be under high"),
        ([{"step": "blur"}], "does not match any of the expected tags"),
    ],
)
def test_what_cannot_work_is_refused_with_the_step(steps: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        recipe(*steps)
