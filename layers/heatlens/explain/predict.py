"""Read prediction and scores off logits [K]: label, probability and logit, and the prediction's margin."""

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
    if card.output == "sigmoid":
        logit = float(logits[0]) if index else -float(logits[0])
        return _sigmoid(logit), logit
    logit = float(logits[index])
    return (_sigmoid(logit) if card.output == "multilabel" else float(_softmax(logits)[index])), logit


def group_score(logits: Floats, group: Group, card: Card) -> tuple[float, float]:
    """Compute probability and logit of a target: of several classes, that of any of them, and their mean logit.

    The probability of any is the sum of those of exclusive classes (`softmax`). Of classes that do not exclude each
    other (`multilabel`) it is unknown, but not under the largest of theirs, which is returned.
    """
    pairs = [score(logits, index, card) for index in group]
    if len(pairs) == 1:
        return pairs[0]
    probabilities, members = zip(*pairs, strict=True)
    probability = max(probabilities) if card.output == "multilabel" else min(sum(probabilities), 1.0)
    return probability, sum(members) / len(members)


def member_scores(logits: Floats, group: Group, card: Card) -> tuple[Score, ...] | None:
    """Compute the score of each class of a group; `None` where the target is a single class."""
    if len(group) == 1:
        return None
    return tuple(Score(card.classes[index], index, *score(logits, index, card)) for index in group)


def scores(logits: Floats, card: Card) -> tuple[Score, ...]:
    """Compute every class's score, in the order of the card's classes."""
    if card.output == "softmax":  # all at once: one by one, a thousand classes would take a million exponentials
        pairs = list(zip(_softmax(logits).tolist(), logits.tolist(), strict=True))
    else:
        pairs = [score(logits, index, card) for index in range(len(card.classes))]
    return tuple(Score(card.classes[index], index, *pair) for index, pair in enumerate(pairs))


def _sigmoid(logit: float) -> float:
    # tanh neither overflows nor loses the small side, unlike 1 / (1 + exp(-x)) in either of its forms.
    return 0.5 * (1.0 + float(np.tanh(0.5 * logit)))


def _softmax(logits: Floats) -> npt.NDArray[np.float64]:
    raised = np.exp(logits.astype(np.float64) - float(logits.max()))
    probabilities: npt.NDArray[np.float64] = raised / raised.sum()
    return probabilities
