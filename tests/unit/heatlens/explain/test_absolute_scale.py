"""The absolute scale: one color means the same in all images of a calibrated model."""

import re
from dataclasses import replace

import numpy as np
import pytest

from heatlens.card import Calibration, Layer, Peaks
from heatlens.errors import InvalidOption
from heatlens.explain.absolute_scale import absolute, full_heat, full_heat_of
from heatlens.explain.cam import positive, quality
from heatlens.model import Model
from heatlens.plan import make_plan
from heatlens.types import Options
from tests.support.tiny import bare_card

DARK = Peaks(images=40, peak_percentiles={"99": 4.0}, floor=2.0)
PEAKS = Calibration(images=64, peak_percentiles={"5": 2.0, "99": 8.0}, classes={"DARK": DARK})
OTHER = Calibration(images=64, peak_percentiles={"5": 0.02, "99": 0.5})
LAYER: Layer = bare_card(("a", "b"), "softmax").layers[0]
CALIBRATED = LAYER.model_copy(update={"calibration": PEAKS, "calibrations": {"layercam": OTHER}})


def test_a_value_has_one_heat_in_every_image() -> None:
    weak, strong = np.array([[-1, 2]], np.float32), np.array([[4, 2], [16, -8]], np.float32)
    assert absolute(weak, 8).tolist() == [[0, 0.25]]
    assert absolute(strong, 8).tolist() == [[0.5, 0.25], [1, 0]]
    assert positive(weak).tolist() == [[0, 1]], "while the scale of the image stretches both to 1"


def test_full_heat_is_the_99th_percentile_of_the_methods_peaks() -> None:
    assert full_heat(CALIBRATED.calibration_of("gradcam"), CALIBRATED, "gradcam") == 8
    assert full_heat(CALIBRATED.calibration_of("layercam"), CALIBRATED, "layercam") == 0.5


@pytest.mark.parametrize(
    ("layer", "method", "message"),
    [
        (LAYER, "gradcam", "no calibration for gradcam at none as it is asked for here: every map can be shown by"),
        (
            CALIBRATED,
            "eigencam",
            "no calibration for eigencam at none as it is asked for here: plain gradcam, layercam",
        ),
        (
            LAYER.model_copy(update={"calibration": Calibration(images=1, peak_percentiles={"99": -1.0})}),
            "gradcam",
            "has no positive evidence: use scale=image",
        ),
        (
            LAYER.model_copy(update={"calibration": Calibration(images=1, peak_percentiles={"99": 1e-60})}),
            "gradcam",
            "has no positive evidence: use scale=image",  # in float32 it is 0
        ),
        (
            LAYER.model_copy(update={"calibration": Calibration(images=1, peak_percentiles={})}),
            "gradcam",
            "has no positive evidence: use scale=image",
        ),
    ],
)
def test_rejects_the_absolute_scale_without_a_usable_calibration(layer: Layer, method: str, message: str) -> None:
    with pytest.raises(InvalidOption, match=re.escape(message)) as raised:
        full_heat(layer.calibration_of(method), layer, method)
    assert [mistake.field for mistake in raised.value.mistakes] == ["scale"]


@pytest.fixture
def model(tiny_model: Model) -> Model:
    """The tiny model with calibrations."""
    layer = tiny_model.card.layers[0].model_copy(update={"calibration": PEAKS, "calibrations": {"layercam": OTHER}})
    return replace(tiny_model, card=tiny_model.card.model_copy(update={"layers": (layer,)}))


def test_a_map_is_weak_by_the_peaks_of_its_method_and_class(model: Model) -> None:
    one = np.ones((2, 2), np.float32)
    assert quality(one, make_plan(model, Options()).peaks_of("DARK")) == "weak"
    assert quality(one, make_plan(model, Options()).peaks_of("BRIGHT")) == "ok", "it has no peaks of its own"
    assert quality(one, make_plan(model, Options(method="layercam")).peaks_of("DARK")) == "ok"


def test_full_heat_is_that_of_the_class_or_of_all_where_it_has_no_peaks_of_its_own(model: Model) -> None:
    plan = make_plan(model, Options(scale="absolute"))
    assert (plan.full_of("DARK"), plan.full_of("BRIGHT")) == (4, 8)
    assert make_plan(model, Options()).full_of("DARK") is None


def test_a_class_without_positive_evidence_is_scaled_as_all_are() -> None:
    assert full_heat_of(Peaks(images=20, peak_percentiles={"99": -1.0}), 8) == 8
    assert full_heat_of(Peaks(images=20, peak_percentiles={}), 8) == 8


@pytest.mark.parametrize(
    "options",
    [
        Options(method="eigencam"),
        Options(method="layercam", eigen_smooth=True),
        Options(method="layercam", aug_smooth=True),
        Options(method="layercam", target=("DARK",), contrast="BRIGHT"),
        Options(eigen_smooth=True),
    ],
)
def test_maps_in_another_unit_have_no_calibration(options: Options, model: Model) -> None:
    assert make_plan(model, options).calibration is None
