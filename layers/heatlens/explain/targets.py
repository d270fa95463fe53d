"""Choose which logits are explained: parse `target`, and make targets and selectors [T,K] from logits [K]."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np

from heatlens.card import Card
from heatlens.errors import InvalidOption, Mistake
from heatlens.types import Class, Floats, Options, Target

Group = tuple[int, ...]  # the indices of one target's classes, increasing; a single class is a group of one

_SHOWN = 80  # characters of a name in a message
_FEW = 8  # labels that a message lists
_LABEL = 24  # characters of each
_TOP = re.compile(r"top-([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class TargetRequest:
    """The targets of one image: `groups` of classes, then the `ranks` classes with the largest logits.

    A group of several classes is explained by the mean of their logits: "why any of these". With `contrast` each logit
    is explained less that class's: "why this class rather than that".
    """

    groups: tuple[Group, ...] = ()
    ranks: int = 0
    contrast: int | None = None

    @property
    def several(self) -> bool:
        """Whether an image may have more than one target; it may have fewer, where the best class is also named."""
        return len(self.groups) + self.ranks > 1

    @property
    def ranked(self) -> bool:
        """Whether the classes depend on the logits; the predicted class alone does not: the tail finds it itself."""
        return self.ranks > 0 and self != PREDICTED


PREDICTED = TargetRequest(ranks=1)


def parse_targets(targets: Sequence[Target], contrast: Class | None, card: Card) -> TargetRequest:
    """Parse targets: class labels, indices, `top-k`, or groups of classes; without targets the predicted class.

    A group is a tuple, or a text such as `dog|cat` or `["dog", "cat"]`. A text that is a label is read as one even
    where it looks like an index, a rank or a group; a number is an index.

    Raises:
        InvalidOption: The model has no such class, or fewer than k; a class is contrasted with itself; or a group is
            empty, or has both classes of a single logit.
    """
    against = None if contrast is None else _index(contrast, "contrast", card)
    groups: list[Group] = []
    ranks = 0 if targets else 1
    for target in targets:
        top = _TOP.fullmatch(target) if isinstance(target, str) and target not in card.classes else None
        if top:
            ranks = max(ranks, int(top[1]))
            _check_ranks(ranks, card, contrasted=against is not None)
        else:
            groups.append(_group(target, card))
    if against is not None and any(against in group for group in groups):
        raise _invalid("contrast", f"{card.classes[against]!r} cannot be contrasted with itself")
    return TargetRequest(tuple(dict.fromkeys(groups)), ranks, against)


def name_classes(options: Options, card: Card) -> Options:
    """Replace the indices of classes by their labels: written as text, an index could be taken for a label."""

    def label(target: Class) -> str:
        return card.classes[target] if isinstance(target, int) else target

    targets = (tuple(map(label, each)) if isinstance(each, tuple) else label(each) for each in options.target)
    contrast = None if options.contrast is None else label(options.contrast)
    return replace(options, target=tuple(targets), contrast=contrast)


def choose_targets(request: TargetRequest, logits: Floats, card: Card) -> list[Group]:
    """Choose the targets of one image with logits `[K]`, each once: those named, then the best classes by logit."""
    order = np.argsort(-logits, kind="stable")[: request.ranks + 1].tolist()  # one more than needed, for the contrast
    if card.output == "sigmoid":  # the classes are the two signs of one logit
        order = [1, 0] if logits[0] >= 0 else [0, 1]
    best = [(index,) for index in order if index != request.contrast][: request.ranks]
    return list(dict.fromkeys([*request.groups, *best]))


def fixed_selectors(request: TargetRequest, card: Card) -> Floats:
    """Make the selectors `[T,K]` of targets that are not `ranked`, in the order of `choose_targets`.

    A row of zeros selects the predicted class.
    """
    if not request.ranks:
        return np.stack([selector(group, request, card) for group in request.groups])
    return np.zeros((1, card.logits), np.float32)


def selector(group: Group, request: TargetRequest, card: Card) -> Floats:
    """Make the weights `[K]` of the logits whose sum is explained: 1 for the class, or `1/n` for each of a group of n.

    The contrast has -1.

    A single logit is the lead of the second class over the first, its negative that of the first over the second: a
    contrast already.
    """
    row = np.zeros(card.logits, np.float32)
    if card.output == "sigmoid":
        row[0] = 1 if group == (1,) else -1
        return row
    row[list(group)] = 1 / len(group)
    if request.contrast is not None:
        row[request.contrast] = -1
    return row


def label_of(group: Group, card: Card) -> str:
    """Return the label of a target; those of a group are joined by `|`."""
    return "|".join(card.classes[index] for index in group)


def _group(target: Target, card: Card) -> Group:
    members = _members(target, card)
    group = tuple(sorted({_index(member, "target", card) for member in members}))
    if not group:
        raise _invalid("target", "a group without classes")
    if card.output == "sigmoid" and len(group) == 2:
        raise _invalid("target", f"{label_of(group, card)!r} are the two signs of one logit: name one of them")
    return group


def _members(target: Target, card: Card) -> Sequence[Class]:
    """List the classes of a target; a JSON list that cannot be read is taken as a label."""
    if isinstance(target, tuple):
        return target
    if isinstance(target, int) or target in card.classes:
        return [target]
    if target.startswith("["):
        try:
            members = json.loads(target)
        except (ValueError, RecursionError):
            return [target]
        if all(isinstance(member, str | int) and not isinstance(member, bool) for member in members):
            return list(members)
    return target.split("|")


def _index(target: Class, name: str, card: Card) -> int:
    text = str(target)
    if isinstance(target, str) and text in card.classes:
        return card.classes.index(text)
    if text.isascii() and text.isdecimal() and len(text) < 8 and int(text) < len(card.classes):
        return int(text)
    known = f"a label{_labels_like(text, card.classes)}, 0 to {len(card.classes) - 1}, or top-1"
    raise _invalid(name, f"{text[:_SHOWN]!r} is no class of this model: {known}")


def _labels_like(text: str, labels: Sequence[str]) -> str:
    """Return the labels in brackets if there are few, else those that are spelled alike."""
    if len(labels) > _FEW:
        folded = {label.casefold(): label for label in labels}
        labels = [folded[near] for near in get_close_matches(text[:_SHOWN].casefold(), folded, n=3)]
    return f" ({', '.join(repr(label[:_LABEL]) for label in labels)})" if labels else ""


def _check_ranks(ranks: int, card: Card, *, contrasted: bool) -> None:
    there = len(card.classes) - contrasted
    if ranks > there:
        beside = " beside the contrasted one" if contrasted else ""
        raise _invalid("target", f"top-{ranks} of {there} classes{beside}")


def _invalid(name: str, message: str) -> InvalidOption:
    return InvalidOption(Mistake(name, message, "unknown_class"))
