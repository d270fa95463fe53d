"""Read prediction and scores off logits [K]: label, probability and logit, and the prediction's margin."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heatlens.card import Card
from heatlens.explain.targets import Group
from heatlens.types import Floats, Prediction, Score


def predict(logits: Floats, card: Card) -> Prediction:
    """Read the prediction off the logits of one image, `[K]`.

    A one-logit model's negative class has the negated logit and the margin is the logit's distance from the decision
    at 0; otherwise the margin is the lead over the second largest logit.
    """
    if card.output == "sigmoid":
        index = int(logits[0] >= 0)
        margin = abs(float(logits[0]))
    else:
        index = int(np.argmax(logits))
        margin = float(logits[index]) - float(np.partition(logits, -2)[-2])
    probability, logit = score(logits, index, card)
    return Prediction(card.classes[index], index, probability, logit, margin)


def score(logits: Floats, index: int, card: Card) -> tuple[float, float]:
    """Compute probability and logit of one class; a one-logit model's negative class has the negated logit."""
    [pair] = _pairs(logits, [index], card)
    return pair


def group_score(logits: Floats, group: Group, card: Card) -> tuple[float, float]:
    """Compute probability and logit of a target: of several classes, that of any of them, and their mean logit.

    The probability of any is the sum of those of exclusive classes (`softmax`). Of classes that do not exclude each
    other (`multilabel`) it is unknown, but not under the largest of theirs, which is returned.
    """
    pairs = _pairs(logits, group, card)
    if len(pairs) == 1:
        return pairs[0]
    probabilities, members = zip(*pairs, strict=True)
    probability = max(probabilities) if card.output == "multilabel" else min(sum(probabilities), 1.0)
    return probability, sum(members) / len(members)


def member_scores(logits: Floats, group: Group, card: Card) -> tuple[Score, ...] | None:
    """Compute the score of each class of a group; `None` where the target is a single class."""
    if len(group) == 1:
        return None
    return _scores(logits, group, card)


def scores(logits: Floats, card: Card) -> tuple[Score, ...]:
    """Compute every class's score, in the order of the card's classes."""
    return _scores(logits, range(len(card.classes)), card)


def _scores(logits: Floats, indices: Sequence[int], card: Card) -> tuple[Score, ...]:
    pairs = zip(indices, _pairs(logits, indices, card), strict=True)
    return tuple(Score(card.classes[index], index, *pair) for index, pair in pairs)


def _pairs(logits: Floats, indices: Sequence[int], card: Card) -> list[tuple[float, float]]:
    """Compute probability and logit of some classes, all at once: one by one, each would take K exponentials."""
    if card.output == "sigmoid":
        own = np.array([logits[0] if index else -logits[0] for index in indices], np.float64)
    else:
        own = logits[list(indices)].astype(np.float64)
    probabilities = _softmax(logits)[list(indices)] if card.output == "softmax" else _sigmoids(own)
    return list(zip(probabilities.tolist(), own.tolist(), strict=True))


def _sigmoids(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # tanh neither overflows nor loses the small side, unlike 1 / (1 + exp(-x)) in either of its forms.
    raised: npt.NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return raised


def _softmax(logits: Floats) -> npt.NDArray[np.float64]:
    raised = np.exp(logits.astype(np.float64) - float(logits.max()))
    probabilities: npt.NDArray[np.float64] = raised / raised.sum()
    return probabilities
