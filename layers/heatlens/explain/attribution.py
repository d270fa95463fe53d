"""The explanation itself: preprocessed images [B,3,H,W] -> logits [K] and signed maps [h,w] of each image's targets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from heatlens.card import Card
from heatlens.engines.base import Engine, OwnMethods
from heatlens.explain.cam import reduce, signed_map
from heatlens.explain.methods import METHODS
from heatlens.explain.multi_layer import combined
from heatlens.explain.perturbation import RERUNS
from heatlens.explain.targets import TargetRequest, chosen, known, selector
from heatlens.types import Floats

Stage = Literal["trunk", "tail", "cam"]
Timer = Callable[[Stage], AbstractContextManager[None]]

METHOD_NAMES = (*METHODS, *RERUNS)
RERUN_BATCH = 16  # channels run together; each costs the memory of an image
TAIL_ROWS = 64  # targets run together, each with a copy of its image's activation
_AUGMENTED = ((False, 1.0), (False, 0.9), (False, 1.1), (True, 0.9), (True, 1.0), (True, 1.1))  # the image itself first


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """By which method, and how smoothed; both smoothings are pytorch-grad-cam's."""

    method: str = "gradcam"
    eigen_smooth: bool = False
    aug_smooth: bool = False


@dataclass(frozen=True, slots=True)
class Attribution:
    """Of one image: `logits` `[K]`; of each of its targets the class and the signed map `[h,w]`.

    `heats` are there with `aug_smooth` only: per target `[H,W]` in 0..1, at the size of the network's input.
    """

    logits: Floats
    classes: list[int]
    signed_maps: list[Floats]
    heats: list[Floats] | None = None


def passes(
    method: str, channels: int, *, aug_smooth: bool = False, own: Mapping[str, int] = MappingProxyType({})
) -> int:
    """How often the network, or its tail, runs for one image; `own` are the engine's own methods."""
    once = channels + 1 if method in RERUNS else 1 if method in METHODS else own.get(method, 1)
    return once * (len(_AUGMENTED) if aug_smooth else 1)


def attribute(
    engine: Engine,
    card: Card,
    images: Floats,
    wanted: Sequence[TargetRequest],
    how: MethodOptions,
    timed: Timer = lambda _stage: nullcontext(),
) -> list[Attribution]:
    """Explain images, each by targets of its own; any number of targets costs one pass of the trunk.

    Args:
        engine: Of the layer.
        card: Of the model.
        images: `[B,3,H,W]`, preprocessed.
        wanted: The targets of each image.
        how: By which method.
        timed: Is given each stage's name when it begins, and ends with it.
    """
    found = _attribute(engine, card, images, wanted, how, timed)
    if not how.aug_smooth:
        return found
    # What is explained does not change with how an image is augmented.
    fixed = [TargetRequest(tuple(each.classes), 0, asked.contrast) for each, asked in zip(found, wanted, strict=True)]
    return [
        Attribution(each.logits, each.classes, each.signed_maps, heats)
        for each, heats in zip(found, _smoothed(engine, card, images, fixed, how, timed, found), strict=True)
    ]


def logits_of(engine: Engine, card: Card, images: Floats, timed: Timer = lambda _stage: nullcontext()) -> Floats:
    """`[B,3,H,W]`, preprocessed -> logits `[B,K]`."""
    with timed("trunk"):
        crossing = engine.trunk(images)
    with timed("tail"):
        return engine.tail(crossing, np.zeros((len(images), card.logits), np.float32))[0]


def _smoothed(
    engine: Engine,
    card: Card,
    images: Floats,
    wanted: Sequence[TargetRequest],
    how: MethodOptions,
    timed: Timer,
    plain: list[Attribution],
) -> list[list[Floats]]:
    """Mean heat over the image brighter, darker and mirrored; `forward_augmentation_smoothing` of pytorch-grad-cam."""
    runs = []
    for mirrored, factor in _AUGMENTED:
        found = plain
        if (mirrored, factor) != _AUGMENTED[0]:
            augmented = (images[..., ::-1] if mirrored else images) * np.float32(factor)
            found = _attribute(engine, card, np.ascontiguousarray(augmented), wanted, how, timed)
        with timed("cam"):
            maps = np.stack([each for run in found for each in run.signed_maps])
            heats = combined([maps], images.shape[2:])
            runs.append(heats[..., ::-1] if mirrored else heats)
    mean = iter(np.mean(runs, axis=0))
    return [[next(mean) for _ in each.classes] for each in plain]


def _attribute(
    engine: Engine, card: Card, images: Floats, wanted: Sequence[TargetRequest], how: MethodOptions, timed: Timer
) -> list[Attribution]:
    with timed("trunk"):
        crossing = engine.trunk(images)
    if how.method in METHODS and not any(each.ranked for each in wanted):
        rows = [known(each, card) for each in wanted]
        logits, maps = _by_gradient(engine, crossing, rows, how, timed)
        classes = [chosen(*pair, card) for pair in zip(wanted, logits, strict=True)]
        return [Attribution(*each) for each in zip(logits, classes, maps, strict=True)]
    with timed("tail"):
        logits, _ = engine.tail(crossing, np.zeros((len(images), card.logits), np.float32))
    classes = [chosen(*pair, card) for pair in zip(wanted, logits, strict=True)]
    selectors = [
        np.stack([selector(index, asked, card) for index in indices])
        for asked, indices in zip(wanted, classes, strict=True)
    ]
    if how.method not in METHOD_NAMES:
        maps = _by_engine(engine, images, selectors, how, timed)
    elif how.method in RERUNS:
        maps = list(_by_rerunning(engine, images, crossing, selectors, how, timed))
    else:
        _, maps = _by_gradient(engine, crossing, selectors, how, timed)
    return [Attribution(*each) for each in zip(logits, classes, maps, strict=True)]


def _by_gradient(
    engine: Engine, crossing: Sequence[Floats], selectors: Sequence[Floats], how: MethodOptions, timed: Timer
) -> tuple[Floats, list[list[Floats]]]:
    """All targets of all images in few passes of the tail, each image's activation repeated for its targets.

    Returns:
        Logits `[B,K]`, and the signed maps of each image.
    """
    owners = np.repeat(np.arange(len(selectors)), [len(each) for each in selectors])
    rows = np.concatenate(selectors)
    once = len(rows) == len(selectors)  # then a view does
    logits: list[Floats] = []
    maps: list[Floats] = []
    for start in range(0, len(rows), TAIL_ROWS):
        span = slice(start, start + TAIL_ROWS)
        with timed("tail"):
            repeated = [value[span if once else owners[span]] for value in crossing]
            found, gradient = engine.tail(repeated, rows[span])
        with timed("cam"):
            maps.extend(signed_map(how.method, repeated[0], gradient, eigen_smooth=how.eigen_smooth))
        logits.extend(found)
    each = iter(maps)
    firsts = np.searchsorted(owners, np.arange(len(selectors)))
    return np.stack(logits)[firsts], [[next(each) for _ in own] for own in selectors]


def _by_engine(
    engine: Engine, images: Floats, selectors: Sequence[Floats], how: MethodOptions, timed: Timer
) -> list[list[Floats]]:
    """By a method of the engine's own, which starts from the images."""
    assert isinstance(engine, OwnMethods), "the plan knows the engine's methods"
    owners = np.repeat(np.arange(len(selectors)), [len(each) for each in selectors])
    rows = np.concatenate(selectors)
    maps: list[Floats] = []
    for start in range(0, len(rows), RERUN_BATCH):
        span = slice(start, start + RERUN_BATCH)
        with timed("cam"):
            maps.extend(engine.maps(how.method, images[owners[span]], rows[span], eigen_smooth=how.eigen_smooth))
    each = iter(maps)
    return [[next(each) for _ in own] for own in selectors]


def _by_rerunning(
    engine: Engine,
    images: Floats,
    crossing: Sequence[Floats],
    selectors: Sequence[Floats],
    how: MethodOptions,
    timed: Timer,
) -> Iterator[list[Floats]]:
    for at, rows in enumerate(selectors):
        own = [value[at : at + 1] for value in crossing]
        with timed("cam"):
            weights = RERUNS[how.method](engine, images[at], own, rows, RERUN_BATCH)
            activation = np.repeat(own[0], len(rows), axis=0)
            yield list(reduce(activation, weights, projected=how.eigen_smooth))
