"""Which logits are explained: `target` as a client writes it and logits [K] -> classes and selectors [T,K]."""

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
    """What one image's maps explain: classes by index, and as many of the best as `top` says, in order of mention.

    `ranks` are places among the classes by logit, 0 being the predicted one. With `contrast` each logit is explained
    less that class's, "why this class rather than that".
    """

    classes: tuple[int, ...] = ()
    ranks: int = 0
    contrast: int | None = None

    @property
    def several(self) -> bool:
        """Whether more than one class is asked for; for an image where the best is one of those named it may be one."""
        return len(self.classes) + self.ranks > 1

    @property
    def ranked(self) -> bool:
        """Whether the classes depend on the logits; the predicted one alone does not: the tail finds it by itself."""
        return self.ranks > 0 and self != PREDICTED


PREDICTED = TargetRequest(ranks=1)


def parse(targets: Sequence[str | int], contrast: str | int | None, card: Card) -> TargetRequest:
    """Read targets: class labels, indices, or `top-k`; none is the predicted class.

    A label is a label even where it looks like an index or a rank; a number is an index.

    Raises:
        InvalidOption: The model has no such class, not as many, or a class is to be contrasted with itself.
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


def chosen(wanted: TargetRequest, logits: Floats, card: Card) -> list[int]:
    """The classes whose logits are explained for one image, each once: those named, then the best by logit.

    Args:
        wanted: As asked.
        logits: Of the image, `[K]`.
        card: Of the model.
    """
    order = np.argsort(-logits, kind="stable").tolist()
    if card.output == "sigmoid":  # the classes are the two signs of one logit
        order = [1, 0] if logits[0] >= 0 else [0, 1]
    best = [index for index in order if index != wanted.contrast][: wanted.ranks]
    return list(dict.fromkeys([*wanted.classes, *best]))


def known(wanted: TargetRequest, card: Card) -> Floats:
    """The selectors `[T,K]` of what is not `ranked`, in the order of `chosen`; zeros are the predicted class."""
    if not wanted.ranks:
        return np.stack([selector(index, wanted, card) for index in wanted.classes])
    return np.zeros((1, card.logits), np.float32)


def selector(index: int, wanted: TargetRequest, card: Card) -> Floats:
    """The weights `[K]` of the logits whose sum is explained: 1 for the class, -1 for the one it is contrasted with.

    One logit is the lead of the second class over the first, and its negative that of the first over the second: it
    is a contrast by itself.
    """
    row = np.zeros(card.logits, np.float32)
    if card.output == "sigmoid":
        row[0] = 1 if index else -1
        return row
    row[index] = 1
    if wanted.contrast is not None:
        row[wanted.contrast] = -1
    return row


def _index(wanted: str | int, name: str, card: Card) -> int:
    text = str(wanted)
    if isinstance(wanted, str) and text in card.classes:
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
