"""Score whether the network uses the pixels that a map [H,W] ranks high: deletion, insertion, ROAD."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image

from heatlens.card import Card
from heatlens.engines.base import Engine
from heatlens.evaluate.masking import Perturb, Subject, deleted, inserted, without_least_relevant, without_most_relevant
from heatlens.explain.predict import group_score, score
from heatlens.explain.targets import Group
from heatlens.types import Floats

Clock = Callable[[], float]
Point = tuple[Perturb, Fraction]

CURVE_BATCH, ROAD_BATCH = 8, 1  # images in a batch; an imputation takes longer than the network
FIVE, NINE = (10, 30, 50, 70, 90), (10, 20, 30, 40, 50, 60, 70, 80, 90)  # percentiles; nine are pytorch-grad-cam's


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """How well a map's ranking of the pixels agrees with the network's outputs without them.

    All scores are of the probability of the explained class, which for the whole image is `probability`. `deletion` is
    the area under its curve as the hottest pixels are taken away (low is good), `insertion` as they are added to a
    blurred image (high is good), both over `steps` equal steps. `road` is `(LeRF - MoRF) / 2`: the mean over
    `percentiles` of the probability with the least relevant pixels imputed, less that with the most relevant imputed
    (high is good). Scores that were not reached in time are `None`, with 0 steps or no percentiles; `complete` says
    that all are there, and `passes` counts the images that the network ran on.
    """

    probability: float | None
    deletion: float | None
    insertion: float | None
    steps: int
    road: float | None
    percentiles: tuple[int, ...]
    complete: bool
    passes: int


def enlarge(signed_map: Floats, card: Card) -> Floats:
    """Enlarge a map `[h,w]` to the size of the network's input, bilinear, as a ranking of its pixels."""
    height, width = card.preprocess.shape
    return np.array(Image.fromarray(signed_map).resize((width, height), Image.Resampling.BILINEAR), np.float32)


def faithfulness(
    engine: Engine,
    card: Card,
    image: Floats,
    heat: Floats,
    group: Group,
    *,
    budget_s: float,
    contrast: int | None = None,
    clock: Clock = time.monotonic,
) -> Faithfulness:
    """Score a map within a time budget.

    The work has a fixed order, coarse before fine: curves of 8 steps, ROAD at five percentiles, curves of 16 steps,
    ROAD at all nine, curves of 32; the finer ones contain the coarser. A batch starts only if it would end in time
    at the pace of the slowest so far, and unfinished parts are left out. So a part always has the same scores, and at
    most one batch of eight images, or one imputation, exceeds the budget.

    Args:
        engine: Of the layer; only its logits are read.
        card: Of the model.
        image: `[3,H,W]`, preprocessed.
        heat: `[H,W]` of any scale and sign, such as `enlarge` returns; only its order counts. Equal pixels are ranked
            in reading order, so pass a map before its ReLU.
        group: Indices of the explained classes.
        budget_s: Seconds.
        contrast: The class it is contrasted with; the probability is then the target's among these two.
        clock: Returns seconds.
    """
    run = _Run(engine, card, group, contrast, Subject.of(image, heat, card.preprocess), clock, clock() + budget_s)
    steps: int = 0
    percentiles: tuple[int, ...] = ()
    complete = run.finish([WHOLE], CURVE_BATCH)
    for part in PARTS:
        complete = complete and run.finish(part.points, part.batch)
        if complete:
            steps, percentiles = part.steps or steps, part.percentiles or percentiles
    return Faithfulness(
        probability=run.scores.get(WHOLE),
        deletion=run.area(deleted, steps) if steps else None,
        insertion=run.area(inserted, steps) if steps else None,
        steps=steps,
        road=run.road(percentiles) if percentiles else None,
        percentiles=percentiles,
        complete=complete,
        passes=run.passes,
    )


WHOLE: Point = (deleted, Fraction(0))


@dataclass(frozen=True, slots=True)
class _Part:
    """Curves of a number of steps, or ROAD at percentiles."""

    steps: int = 0
    percentiles: tuple[int, ...] = ()

    @property
    def batch(self) -> int:
        return CURVE_BATCH if self.steps else ROAD_BATCH

    @property
    def points(self) -> list[Point]:
        if self.steps:
            return [*_curve(deleted, self.steps), *_curve(inserted, self.steps)]
        ways = (without_most_relevant, without_least_relevant)
        return [(way, Fraction(percentile, 100)) for percentile in self.percentiles for way in ways]


PARTS = (_Part(steps=8), _Part(percentiles=FIVE), _Part(steps=16), _Part(percentiles=NINE), _Part(steps=32))


def _curve(perturb: Perturb, steps: int) -> list[Point]:
    """List a curve's points, from no pixel to all; with nothing deleted or all inserted it is the whole image."""
    shares = [Fraction(step, steps) for step in range(steps + 1)]
    points: list[Point] = [(perturb, share) for share in shares]
    return [*points[:-1], WHOLE] if perturb is inserted else points


class _Run:
    """The scores so far, and the time they took."""

    def __init__(
        self,
        engine: Engine,
        card: Card,
        group: Group,
        contrast: int | None,
        subject: Subject,
        clock: Clock,
        deadline: float,
    ) -> None:
        self.scores: dict[Point, float] = {}
        self.passes = 0
        self._engine, self._card, self._group, self._contrast = engine, card, group, contrast
        self._subject, self._clock, self._deadline = subject, clock, deadline
        self._slowest: dict[int, float] = {}  # seconds for an image, by batch size, which differs for curves and ROAD

    def finish(self, points: Sequence[Point], batch: int) -> bool:
        """Score the points that have no score; return whether there was time for all."""
        pending = [point for point in points if point not in self.scores]
        for start in range(0, len(pending), batch):
            points_now = pending[start : start + batch]
            begun = self._clock()
            if begun + len(points_now) * self._slowest.get(batch, 0) >= self._deadline:
                return False
            self.scores |= zip(points_now, self._probabilities(points_now), strict=True)
            self._slowest[batch] = max((self._clock() - begun) / len(points_now), self._slowest.get(batch, 0))
        return True

    def area(self, perturb: Perturb, steps: int) -> float:
        """Compute the area under the curve of shares from 0 to 1, by trapezoids."""
        values = [self.scores[point] for point in _curve(perturb, steps)]
        return (sum(values) - (values[0] + values[-1]) / 2) / steps

    def road(self, percentiles: Sequence[int]) -> float:
        """Compute `(LeRF - MoRF) / 2`, pytorch-grad-cam's `ROADCombined`, in which the whole image's score cancels."""
        most, least = (
            np.mean([self.scores[way, Fraction(percentile, 100)] for percentile in percentiles])
            for way in (without_most_relevant, without_least_relevant)
        )
        return float(least - most) / 2

    def _probabilities(self, points: Sequence[Point]) -> list[float]:
        images = np.stack([perturb(self._subject, share) for perturb, share in points])
        crossing = self._engine.trunk(images)
        logits, _ = self._engine.tail(crossing, np.zeros((len(images), self._card.logits), np.float32))
        self.passes += len(images)
        return [self._probability(row) for row in logits]

    def _probability(self, logits: Floats) -> float:
        probability, logit = group_score(logits, self._group, self._card)
        if self._contrast is None or len(logits) == 1:
            return probability
        lead = logit - score(logits, self._contrast, self._card)[1]
        return 0.5 * (1 + float(np.tanh(0.5 * lead)))
