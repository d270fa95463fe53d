from dataclasses import replace

import pytest

from heatlens.card import Cost
from heatlens.errors import TooSlow
from heatlens.model import Model
from heatlens.types import Options
from heatlens_aws.invocation_time import check_time
from heatlens_aws.settings import STAGED_LIMITS

COST = Cost(trunk_ms=50, tail_ms=5, golden_ms=55, batch=16)
SCORECAM = Options(method="scorecam")


@pytest.fixture
def large(tiny_model: Model) -> Model:
    """A model with 2,048 channels that the machine explains as fast as the compiling one did."""
    layer = tiny_model.card.layers[0].model_copy(update={"cost": COST, "shape": (2048, 8, 8)})
    return replace(tiny_model, card=tiny_model.card.model_copy(update={"layers": (layer,)}), slowdown=lambda: 1.0)


def refusal(model: Model, options: Options, timeout_s: int | None = 120) -> str:
    """Return the message of the refusal, empty where there is none."""
    try:
        check_time(model, options, STAGED_LIMITS, timeout_s)
    except TooSlow as error:
        return str(error)
    return ""


def test_what_an_invocation_has_no_time_for_is_refused_with_the_ways_out(large: Model) -> None:
    message = refusal(large, SCORECAM)

    assert "takes about 113 s (2,049 passes of the trunk, 2,049 of the tail)" in message
    assert "an invocation of the batch function has 110 s" in message
    for way in ("use method=gradcam", "BatchTimeout", "900", "heatlens serve", "backend sagemaker"):
        assert way in message


@pytest.mark.parametrize("options", [Options(), Options(method="ablationcam"), Options(aug_smooth=True)])
def test_what_fits_is_accepted(large: Model, options: Options) -> None:
    assert refusal(large, options) == ""


def test_a_longer_timeout_accepts_it_and_without_one_nothing_is_refused(large: Model) -> None:
    assert refusal(large, SCORECAM, 123) == ""
    assert refusal(large, SCORECAM, 122) != ""
    assert refusal(large, SCORECAM, None) == ""


def test_a_slower_machine_takes_longer(large: Model) -> None:
    ablation = Options(method="ablationcam")

    assert refusal(replace(large, slowdown=lambda: 10.0), ablation) == ""
    assert "takes about 113 s (1 passes of the trunk, 2,050" in refusal(replace(large, slowdown=lambda: 11.0), ablation)


def test_a_model_without_measured_passes_is_not_checked(large: Model) -> None:
    layer = large.card.layers[0].model_copy(update={"cost": None})
    bare = replace(large, card=large.card.model_copy(update={"layers": (layer,)}))

    assert refusal(bare, SCORECAM) == refusal(replace(large, slowdown=lambda: None), SCORECAM) == ""


def test_the_ways_out_are_those_of_the_options_and_the_model(large: Model) -> None:
    layers = (*large.card.layers, large.card.layers[0].model_copy(update={"name": "narrow", "shape": (64, 8, 8)}))
    model = replace(large, card=large.card.model_copy(update={"layers": layers}), slowdown=lambda: 9.0)
    options = replace(SCORECAM, aug_smooth=True, target=("top-2",), include=frozenset({"map", "faithfulness"}))
    message = refusal(model, options)

    for way in ("no aug_smooth", "no faithfulness", "a layer with fewer channels", "fewer targets"):
        assert f"use {way}, " in message
    assert "fewer channels" not in refusal(model, replace(options, layer="narrow"))


def test_the_time_that_faithfulness_may_take_counts(large: Model) -> None:
    ablation = Options(method="ablationcam", include=frozenset({"map"}))
    with_scores = replace(ablation, include=frozenset({"map", "faithfulness"}))
    slower = replace(large, slowdown=lambda: 7.0)  # 72 s

    assert refusal(slower, ablation) == ""
    assert "112 s" in refusal(slower, with_scores)
