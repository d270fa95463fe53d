"""Score-CAM and Ablation-CAM: channel weights [T,C] without gradients, from one run of the network per channel."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from heatlens.engines.base import Engine
from heatlens.explain.methods import away_from_zero
from heatlens.types import Floats

LEAST_LOGIT = 1e-7

Rerun = Callable[[Engine, Floats, Sequence[Floats], Floats, int], Floats]


def ablationcam(engine: Engine, image: Floats, crossing: Sequence[Floats], selectors: Floats, batch: int) -> Floats:
    """`w_k = (y - y_k) / y`, y_k being the logit with channel k set to 0.

    Desai and Ramaswamy, "Ablation-CAM", WACV 2020, equations 2 and 3. Costs C + 1 passes of the tail, whatever the
    number of targets. pytorch-grad-cam sets a channel to 0 only where the least activation is 0. Otherwise it sets
    the channel far below the least activation, which this does not. A logit nearer to 0 than 1e-7 is divided by as if
    it were 1e-7 away: a black image can have a logit of exactly 0.

    Args:
        engine: Of the layer.
        image: Preprocessed, `[3,H,W]`; not used.
        crossing: The trunk's outputs for it, each `[1,...]`, the activation first.
        selectors: One for each target, `[T,K]`, none of zeros.
        batch: Channels in a batch.

    Returns:
        `[T,C]`.
    """
    activation, *others = crossing
    channels = activation.shape[1]
    whole = _scores(engine, crossing, selectors)[:, :1]
    drops = np.empty((len(selectors), channels), np.float32)
    for span in _spans(channels, batch):
        ablated = np.repeat(activation, span.stop - span.start, axis=0)
        ablated[np.arange(len(ablated)), np.arange(span.start, span.stop)] = 0
        beside = [np.repeat(other, len(ablated), axis=0) for other in others]
        drops[:, span] = whole - _scores(engine, [ablated, *beside], selectors)
    weights: Floats = drops / away_from_zero(whole, LEAST_LOGIT)
    return weights


def scorecam(engine: Engine, image: Floats, crossing: Sequence[Floats], selectors: Floats, batch: int) -> Floats:
    """`w = softmax_k y(X * M_k)`, M_k being channel k enlarged to the input and scaled to 0..1.

    Wang et al., "Score-CAM", CVPR Workshops 2020, equations 6 to 9. As in pytorch-grad-cam the black image's score is
    not subtracted (a softmax does not change by it), and enlarging is bilinear with aligned corners. Costs C passes of
    the whole network, whatever the number of targets. Arguments and result are `ablationcam`'s.
    """
    activation = crossing[0][0]
    scores = np.empty((len(selectors), len(activation)), np.float32)
    for span in _spans(len(activation), batch):
        masked = image[None] * _masks(activation[span], image.shape[1:])[:, None]
        scores[:, span] = _scores(engine, engine.trunk(masked), selectors)
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights: Floats = raised / raised.sum(axis=1, keepdims=True)
    return weights


RERUNS: dict[str, Rerun] = {"ablationcam": ablationcam, "scorecam": scorecam}


def _scores(engine: Engine, crossing: Sequence[Floats], selectors: Floats) -> Floats:
    """Compute the explained logits `[T,B]` of every selector and image in one pass: no logit depends on a selector."""
    any_selector = np.repeat(selectors[:1], len(crossing[0]), axis=0)
    logits, _ = engine.tail(crossing, any_selector)
    scores: Floats = selectors @ logits.T
    return scores


def _masks(channels: Floats, size: Sequence[int]) -> Floats:
    height, width = size
    down, across = _interpolation(height, channels.shape[1]), _interpolation(width, channels.shape[2])
    enlarged = np.asarray(down @ channels @ across.T, np.float32)
    least, most = enlarged.min(axis=(1, 2), keepdims=True), enlarged.max(axis=(1, 2), keepdims=True)
    return np.asarray((enlarged - least) / (most - least + np.float32(1e-8)), np.float32)


def _interpolation(many: int, few: int) -> Floats:
    """Make the matrix `[many,few]` of linear interpolation with aligned corners."""
    at = np.linspace(0, few - 1, many)
    return np.asarray(np.maximum(0, 1 - np.abs(at[:, None] - np.arange(few))), np.float32)


def _spans(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))
