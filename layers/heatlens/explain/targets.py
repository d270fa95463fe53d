"""Choose which logits are explained: parse `target`, and make classes and selectors [T,K] from logits [K]."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heatlens.card import Card
from heatlens.errors import InvalidOption, Mistake
from heatlens.types import Floats

_TOP = re.compile(r"top-([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class TargetRequest:
    """The targets of one image: `classes` by index, then the `ranks` classes with the largest logits.

    With `contrast` each logit is explained less that class's: "why this class rather than that".
    """

    classes: tuple[int, ...] = ()
    ranks: int = 0
    contrast: int | None = None

    @property
    def several(self) -> bool:
        """Whether more than one class may be explained; one image may have fewer, where the best is also named."""
        return len(self.classes) + self.ranks > 1

    @property
    def ranked(self) -> bool:
        """Whether the classes depend on the logits; the predicted class alone does not: the tail finds it itself."""
        return self.ranks > 0 and self != PREDICTED


PREDICTED = TargetRequest(ranks=1)


def parse_targets(targets: Sequence[str | int], contrast: str | int | None, card: Card) -> TargetRequest:
    """Parse targets: class labels, indices, or `top-k`; without targets the predicted class.

    A text that is a label is read as one even where it looks like an index or a rank; a number is an index.

    Raises:
        InvalidOption: The model has no such class, or fewer than k, or a class is contrasted with itself.
    """
    against = None if contrast is None else _index(contrast, "contrast", card)
    classes: list[int] = []
    ranks = 0 if targets else 1
    for target in targets:
        top = None if isinstance(target, int) or target in card.classes else _TOP.fullmatch(target)
        if top:
            ranks = max(ranks, int(top[1]))
            _check_ranks(ranks, card, contrasted=against is not None)
        else:
            classes.append(_index(target, "target", card))
    if against in classes:
        raise _invalid("contrast", f"{card.classes[against or 0]!r} cannot be contrasted with itself")
    return TargetRequest(tuple(dict.fromkeys(classes)), ranks, against)


def choose_classes(request: TargetRequest, logits: Floats, card: Card) -> list[int]:
    """Choose the classes to explain for one image with logits `[K]`, each once: those named, then the best by logit."""
    order = np.argsort(-logits, kind="stable").tolist()
    if card.output == "sigmoid":  # the classes are the two signs of one logit
        order = [1, 0] if logits[0] >= 0 else [0, 1]
    best = [index for index in order if index != request.contrast][: request.ranks]
    return list(dict.fromkeys([*request.classes, *best]))


def fixed_selectors(request: TargetRequest, card: Card) -> Floats:
    """Make the selectors `[T,K]` of targets that are not `ranked`, in the order of `choose_classes`.

    A row of zeros selects the predicted class.
    """
    if not request.ranks:
        return np.stack([selector(index, request, card) for index in request.classes])
    return np.zeros((1, card.logits), np.float32)


def selector(index: int, request: TargetRequest, card: Card) -> Floats:
    """Make the weights `[K]` of the logits whose sum is explained: 1 for the class, -1 for its contrast.

    A single logit is the lead of the second class over the first, its negative that of the first over the second: a
    contrast already.
    """
    row = np.zeros(card.logits, np.float32)
    if card.output == "sigmoid":
        row[0] = 1 if index else -1
        return row
    row[index] = 1
    if request.contrast is not None:
        row[request.contrast] = -1
    return row


def _index(target: str | int, name: str, card: Card) -> int:
    text = str(target)
    if isinstance(target, str) and text in card.classes:
        return card.classes.index(text)
    if text.isascii() and text.isdecimal() and len(text) < 8 and int(text) < len(card.classes):
        return int(text)
    raise _invalid(name, f"{text[:80]!r} is no class of this model: a label, 0 to {len(card.classes) - 1}, or top-1")


def _check_ranks(ranks: int, card: Card, *, contrasted: bool) -> None:
    there = len(card.classes) - contrasted
    if ranks > there:
        raise _invalid("target", f"top-{ranks} of {there} classes")


def _invalid(name: str, message: str) -> InvalidOption:
    return InvalidOption(Mistake(name, message, "unknown_class"))
