"""Faithfulness scores compared with their papers' definitions, pytorch-grad-cam and Quantus; time budgets."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics import road
from torch import nn

from heatlens.card import Card, Preprocess
from heatlens.evaluate import masking
from heatlens.evaluate.faithfulness import FIVE, NINE, Faithfulness, enlarge, faithfulness
from heatlens.evaluate.masking import Subject, blur
from heatlens.model import Model
from heatlens.types import Floats
from tests.support.tiny import SIDE as TINY_SIDE
from tests.support.tiny import bare_card

SIDE, CLASSES = 16, 4
LONG = 3600.0
NORMALIZED = Preprocess(resize=(TINY_SIDE, TINY_SIDE), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
SOFTMAX = bare_card(("a", "b", "c", "d"), "softmax").model_copy(update={"preprocess": NORMALIZED})


@dataclass
class Whole:
    """A network as an engine: the trunk returns the images."""

    network: nn.Module
    name: str = "whole"
    precision: str = "f32"
    device: str = "CPU"

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        return (batch,)

    @torch.no_grad()
    def tail(self, crossing: Sequence[Floats], selector: Floats, _owners: object = None) -> tuple[Floats, Floats]:
        logits: Floats = self.network(torch.from_numpy(crossing[0])).numpy()
        return logits, np.zeros_like(crossing[0])


def network(channels: int = 3) -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Sequential(
        nn.Conv2d(channels, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), nn.Flatten()
    )
    return nn.Sequential(layers, nn.Linear(8 * (SIDE // 4) ** 2, CLASSES)).eval().requires_grad_(requires_grad=False)


def picture(channels: int = 3) -> Floats:
    return np.random.default_rng(2).standard_normal((channels, SIDE, SIDE), np.float32)


def ranking() -> Floats:
    """Smooth and of both signs; along the edges some pixels are alike."""
    return enlarge(np.random.default_rng(3).standard_normal((5, 5), np.float32), _sized(SIDE))


def _sized(side: int) -> Card:
    recipe = Preprocess.model_validate(SOFTMAX.preprocess.model_dump() | {"resize": (side, side)})
    return SOFTMAX.model_copy(update={"preprocess": recipe})


def measured(index: int = 2, heat: Floats | None = None, budget_s: float = LONG) -> Faithfulness:
    heat = ranking() if heat is None else heat
    return faithfulness(Whole(network()), SOFTMAX, picture(), heat, (index,), budget_s=budget_s)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No noise in either ROAD."""

    class Quiet(road.NoisyLinearImputer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(noise=0)

    monkeypatch.setattr(masking, "NOISE", 0.0)
    monkeypatch.setattr(road, "NoisyLinearImputer", Quiet)


# ------------------------------------------------------------------------------------------------------ the references


def curve(index: int, steps: int, start: Floats, end: Floats) -> list[float]:
    """Pixels of `end` put over `start`, hottest first, one at a time; the probability at every step."""
    order = sorted(((y, x) for y in range(SIDE) for x in range(SIDE)), key=lambda at: -ranking()[at])
    shown, probabilities = start.copy(), []
    for done in range(SIDE * SIDE + 1):
        if done % (SIDE * SIDE // steps) == 0:
            logits = network()(torch.from_numpy(shown[None])).softmax(dim=1)
            probabilities.append(float(logits[0, index]))
        if done < len(order):
            y, x = order[done]
            shown[:, y, x] = end[:, y, x]
    return probabilities


def area(values: Sequence[float]) -> float:
    return sum((left + right) / 2 for left, right in itertools.pairwise(values)) / (len(values) - 1)


@pytest.mark.parametrize("index", range(CLASSES))
def test_deletion_and_insertion_are_areas_under_their_curves(index: int) -> None:
    image, found = picture(), measured(index)
    assert found.steps == 32
    assert found.deletion == pytest.approx(area(curve(index, 32, image, np.zeros_like(image))), abs=1e-6)
    assert found.insertion == pytest.approx(area(curve(index, 32, blur(image), image)), abs=1e-6)


MEAN, STD = (np.array(each, np.float32).reshape(3, 1, 1) for each in ([100, -20, 7], [60, 400, 0.1]))
UNNORMALIZED = [
    {"step": "resize", "size": SIDE},
    {"step": "scale", "factor": 1},
    {"step": "normalize", "mean": [0], "std": [255]},
    {"step": "clip", "low": -1e6, "high": 1e6},
]


class Normalizing(Whole):
    """A network that normalizes its input itself, by the image's mean and deviation."""

    def tail(self, crossing: Sequence[Floats], selector: Floats, _owners: object = None) -> tuple[Floats, Floats]:
        return super().tail(((crossing[0] - MEAN) / STD,), selector)


@pytest.mark.parametrize("steps", [UNNORMALIZED[:count] for count in (1, 2, 3, 4)])
def test_a_network_that_normalizes_itself_has_the_same_scores(steps: list[dict[str, object]]) -> None:
    own = picture()
    own = (own - own.mean(axis=(1, 2), keepdims=True)) / own.std(axis=(1, 2), keepdims=True)
    card = SOFTMAX.model_copy(update={"preprocess": Preprocess.model_validate({"steps": steps})})

    expected = faithfulness(Whole(network()), SOFTMAX, own, ranking(), (2,), budget_s=LONG)
    found = faithfulness(Normalizing(network()), card, own * STD + MEAN, ranking(), (2,), budget_s=LONG)

    assert (found.deletion, found.insertion, found.road) == pytest.approx(
        (expected.deletion, expected.insertion, expected.road), abs=1e-4
    )
    assert found.deletion == pytest.approx(area(curve(2, 32, own, np.zeros_like(own))), abs=1e-4)


@pytest.mark.parametrize(("kind", "mean"), [("standardize", 0), ("minmax", 3)])
def test_an_image_that_is_normalized_by_itself_has_the_mean_0(kind: str, mean: float) -> None:
    steps = [{"step": "resize", "size": SIDE}, {"step": "per_image", "kind": kind}]
    recipe = Preprocess.model_validate({"steps": steps})

    assert Subject.of(np.full((1, 2, 2), 3, np.float32), np.eye(2, dtype=np.float32), recipe).mean == mean


def test_the_blur_is_a_gaussian_window() -> None:
    image, found = picture(), blur(picture())
    weights = [[math.exp(-(dy * dy + dx * dx) / 50) for dx in range(-5, 6)] for dy in range(-5, 6)]
    for y, x in ((0, 0), (8, 7), (15, 3)):
        total = sum(
            weights[dy + 5][dx + 5] * image[:, min(max(y + dy, 0), SIDE - 1), min(max(x + dx, 0), SIDE - 1)]
            for dy in range(-5, 6)
            for dx in range(-5, 6)
        )
        np.testing.assert_allclose(found[:, y, x], total / np.sum(weights), atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # of numpy, at pytorch-grad-cam's own code
@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("index", range(CLASSES))
def test_road_is_pytorch_grad_cams(index: int) -> None:
    theirs = road.ROADCombined(NINE)(
        torch.from_numpy(picture()[None]), ranking()[None], [lambda logits: logits.softmax(dim=-1)[index]], network()
    )
    found = measured(index)
    assert found.percentiles == NINE
    assert found.road == pytest.approx(float(theirs[0]), abs=1e-5)
    assert abs(found.road or 0) > 1e-3, "or this would compare nothing with nothing"


def test_deletion_is_quantus_pixel_flipping() -> None:
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed (0.6.0 agreed)")
    image, grey = picture(1), network(1)
    flipping = quantus.PixelFlipping(
        features_in_step=SIDE * SIDE // 32, perturb_baseline=0.0, abs=False, normalise=False, disable_warnings=True
    )
    [theirs] = flipping(grey, image[None], np.array([2]), ranking()[None, None], channel_first=True, softmax=True)
    found = faithfulness(Whole(grey), SOFTMAX, image, ranking(), (2,), budget_s=LONG)
    assert found.deletion == pytest.approx(area([found.probability or 0, *theirs]), abs=1e-6)


def test_noise_changes_road_little_and_always_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = measured(), measured()
    assert first == again
    monkeypatch.setattr(masking, "NOISE", 0.0)
    without = measured()
    assert without.road != first.road
    assert without.road == pytest.approx(first.road, abs=5e-3)


# ------------------------------------------------------------------------------------------------------------- sanity


def spot() -> tuple[Floats, Floats]:
    """Make an image with a bright spot, and the map of its share in the tiny model's logit."""
    y, x = np.mgrid[:TINY_SIDE, :TINY_SIDE]
    bright = np.exp(-((x - 20) ** 2 + (y - 11) ** 2) / 40).astype(np.float32)
    return np.stack([bright] * 3), bright


def test_the_truth_scores_better_than_its_inverse(tiny_model: Model) -> None:
    image, truth = spot()
    good, bad = (
        faithfulness(tiny_model.engine, tiny_model.card, image, heat, (1,), budget_s=LONG) for heat in (truth, -truth)
    )
    assert (good.deletion or 0) < (bad.deletion or 0) - 0.1
    assert (good.insertion or 0) > (bad.insertion or 0) + 0.01
    assert (good.road or 0) > 0.05
    assert (bad.road or 0) < -0.05


def test_one_logit_has_a_probability_for_either_class(tiny_model: Model) -> None:
    image, truth = spot()
    dark, bright = (
        faithfulness(tiny_model.engine, tiny_model.card, image, truth, (index,), budget_s=LONG) for index in (0, 1)
    )
    assert (dark.probability or 0) + (bright.probability or 0) == pytest.approx(1)
    assert (dark.deletion or 0) + (bright.deletion or 0) == pytest.approx(1)
    assert (dark.road or 0) + (bright.road or 0) == pytest.approx(0, abs=1e-6)


def test_a_contrast_is_between_two_classes() -> None:
    image = picture()
    found = faithfulness(Whole(network()), SOFTMAX, image, ranking(), (0,), budget_s=LONG, contrast=3)
    logits = network()(torch.from_numpy(image[None]))[0]
    assert found.probability == pytest.approx(float(logits[[0, 3]].softmax(dim=0)[0]), abs=1e-6)


def test_a_flat_map_is_ranked_in_reading_order() -> None:
    flat, falling = (measured(heat=heat) for heat in (np.zeros((SIDE, SIDE), np.float32), _falling()))
    assert flat == falling


def _falling() -> Floats:
    return -np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)


def test_a_map_after_relu_has_all_scores() -> None:
    cut = np.maximum(ranking() - np.float32(np.quantile(ranking(), 0.95)), 0)
    found = measured(heat=cut)
    assert found.complete
    assert found.road is not None


def test_places_rank_the_hottest_first() -> None:
    subject = Subject.of(np.zeros((3, 2, 2), np.float32), np.array([[1, 3], [2, 3]], np.float32), NORMALIZED)
    assert subject.places.tolist() == [[3, 0], [2, 1]]


# ------------------------------------------------------------------------------------------------------------- budget


class Ticking(Whole):
    """Takes a second for an image, or the time that `seconds` returns for the number of images before."""

    def __init__(self, seconds: Callable[[int], float] = lambda _seen: 1.0) -> None:
        super().__init__(network())
        self.now, self.seen, self.seconds = 100.0, 0, seconds

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        for _ in batch:
            self.now += self.seconds(self.seen)
            self.seen += 1
        return super().trunk(batch)

    def measure(self, budget_s: float) -> Faithfulness:
        return faithfulness(self, SOFTMAX, picture(), ranking(), (2,), budget_s=budget_s, clock=lambda: self.now)


# passes: 1 of the whole image; 16 - 1 + 1 of both curves of 8 steps, then as many new ones as each part has
STAGES = [
    (1, 0, ()),
    (1 + 16, 8, ()),
    (1 + 16 + 10, 8, FIVE),
    (1 + 32 + 10, 16, FIVE),
    (1 + 32 + 18, 16, NINE),
    (1 + 64 + 18, 32, NINE),
]


@pytest.mark.parametrize("budget_s", range(0, 90, 3))
def test_only_parts_that_fit_the_budget_are_scored(budget_s: int) -> None:
    engine, whole = Ticking(), measured()
    found = engine.measure(budget_s + 0.5)

    assert engine.now - 100 <= max(budget_s + 0.5, 1)  # how slow an image is only the first one tells
    assert found.passes == engine.seen == engine.now - 100
    [done] = [(steps, percentiles) for passes, steps, percentiles in STAGES if passes <= max(budget_s, 1)][-1:]
    assert (found.steps, found.percentiles) == done
    assert found.complete == (budget_s >= STAGES[-1][0])
    assert found.probability == whole.probability
    assert (found.deletion is None, found.insertion is None) == (not found.steps, not found.steps)
    assert (found.road is None) == (not found.percentiles)
    if found.complete:
        assert found == whole


@pytest.mark.parametrize("budget_s", [0, -1])
def test_without_time_the_network_does_not_run(budget_s: float) -> None:
    engine = Ticking()
    assert engine.measure(budget_s) == Faithfulness(None, None, None, 0, None, (), complete=False, passes=0)
    assert engine.seen == 0


@pytest.mark.parametrize(("budget_s", "steps"), [(20.5, 8), (45.5, 16)])
def test_a_shortened_curve_is_the_curve_of_fewer_steps(budget_s: float, steps: int) -> None:
    found = Ticking().measure(budget_s)
    assert found.steps == steps
    assert found.deletion == pytest.approx(area(curve(2, steps, picture(), np.zeros_like(picture()))), abs=1e-6)
    assert found.insertion == pytest.approx(area(curve(2, steps, blur(picture()), picture())), abs=1e-6)


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # of numpy, at pytorch-grad-cam's own code
@pytest.mark.usefixtures("quiet")
def test_shortened_road_is_road_at_fewer_percentiles() -> None:
    found = Ticking().measure(30.5)
    theirs = road.ROADCombined(FIVE)(
        torch.from_numpy(picture()[None]), ranking()[None], [lambda logits: logits.softmax(dim=-1)[2]], network()
    )
    assert found.percentiles == FIVE
    assert found.road == pytest.approx(float(theirs[0]), abs=1e-5)


def test_only_one_unexpectedly_slow_batch_exceeds_the_budget() -> None:
    engine = Ticking(lambda seen: 1.0 if seen < 17 else 10.0)
    found = engine.measure(20.5)
    assert (found.steps, found.percentiles, found.complete) == (8, (), False)
    assert engine.now - 100 == 17 + 10, "the first image of ROAD; no second one"
