"""Compute the logits [K] and the signed maps [h,w] of each target of preprocessed images [B,3,H,W]."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from heatlens.card import WITHOUT_GRADIENTS, Card
from heatlens.engines.base import Engine, OwnMethods
from heatlens.engines.reciprocam import RERUN_BATCH, reciprocam
from heatlens.explain.cam import reduce, signed_map
from heatlens.explain.familiarity import pool
from heatlens.explain.methods import METHODS
from heatlens.explain.multi_layer import combined
from heatlens.explain.perturbation import RERUNS
from heatlens.explain.targets import Group, TargetRequest, choose_targets, fixed_selectors, selector
from heatlens.types import Floats

Stage = Literal["trunk", "tail", "cam"]
Timer = Callable[[Stage], AbstractContextManager[None]]

RECIPROCAM = WITHOUT_GRADIENTS
METHOD_NAMES = (*METHODS, *RERUNS, RECIPROCAM)
GRADIENT_FREE = (RECIPROCAM, *RERUNS, "eigencam")  # for models whose tail has no gradient
TAIL_ROWS = 64  # targets in a batch of the tail
_AUGMENTED = ((False, 1.0), (False, 0.9), (False, 1.1), (True, 0.9), (True, 1.0), (True, 1.1))  # the image itself first


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """The method and its smoothings, which are pytorch-grad-cam's."""

    method: str = "gradcam"
    eigen_smooth: bool = False
    aug_smooth: bool = False


@dataclass(frozen=True, slots=True)
class Attribution:
    """One image's `logits` `[K]`, and for each of its targets the classes and the signed map `[h,w]`.

    `pooled` is the activation's mean over the cells, `[C]`. With `aug_smooth`, `heats` has for each target `[H,W]` in
    0..1, at the size of the network's input.
    """

    logits: Floats
    pooled: Floats
    targets: list[Group]
    signed_maps: list[Floats]
    heats: list[Floats] | None = None


def count_passes(
    method: str, shape: tuple[int, int, int], *, aug_smooth: bool = False, own: Mapping[str, int] = MappingProxyType({})
) -> int:
    """Count how often the network, or its tail, runs for one image.

    Args:
        method: Its name.
        shape: The activation's `(C,h,w)`.
        aug_smooth: Whether it is averaged over augmentations.
        own: The engine's own methods.
    """
    channels, height, width = shape
    reruns = dict.fromkeys(RERUNS, channels) | {RECIPROCAM: height * width + 1}
    once = reruns[method] + 1 if method in reruns else 1 if method in METHODS else own.get(method, 1)
    return once * (len(_AUGMENTED) if aug_smooth else 1)


def count_runs(
    method: str,
    shape: tuple[int, int, int],
    targets: int,
    *,
    aug_smooth: bool = False,
    own: Mapping[str, int] = MappingProxyType({}),
) -> tuple[int, int]:
    """Count how often the trunk and the tail run for one image, one row of a batch each."""
    channels, height, width = shape
    runs = {
        "scorecam": (channels + 1, channels + 1),
        "ablationcam": (1, channels + 2),
        RECIPROCAM: (1, height * width + 2),
    }
    passes = own.get(method, 1) * targets
    trunk, tail = runs.get(method, (1, targets) if method in METHODS else (1 + passes, 1 + passes))
    views = len(_AUGMENTED) if aug_smooth else 1
    return trunk * views, tail * views


def attribute(
    engine: Engine,
    card: Card,
    images: Floats,
    requests: Sequence[TargetRequest],
    method_options: MethodOptions,
    timed: Timer = lambda _stage: nullcontext(),
) -> list[Attribution]:
    """Explain images, each by targets of its own; any number of targets costs one pass of the trunk.

    Args:
        engine: Of the layer.
        card: Of the model.
        images: `[B,3,H,W]`, preprocessed.
        requests: The targets of each image.
        method_options: The method and its smoothings.
        timed: Makes the context in which a stage runs, from the stage's name.
    """
    plain = _attribute(engine, card, images, requests, method_options, timed)
    if not method_options.aug_smooth:
        return plain
    # The same targets are explained for every augmentation.
    fixed = [
        TargetRequest(tuple(attribution.targets), 0, request.contrast)
        for attribution, request in zip(plain, requests, strict=True)
    ]
    smoothed = _smooth(engine, card, images, fixed, method_options, timed, plain)
    return [replace(attribution, heats=heats) for attribution, heats in zip(plain, smoothed, strict=True)]


def classify(
    engine: Engine, card: Card, images: Floats, timed: Timer = lambda _stage: nullcontext()
) -> tuple[Floats, Floats]:
    """Compute the logits `[B,K]` and the pooled activation `[B,C]` of preprocessed images `[B,3,H,W]`."""
    with timed("trunk"):
        crossing = engine.trunk(images)
    with timed("tail"):
        logits, _ = engine.tail(crossing, np.zeros((len(images), card.logits), np.float32))
    return logits, pool(crossing)


def _smooth(
    engine: Engine,
    card: Card,
    images: Floats,
    requests: Sequence[TargetRequest],
    method_options: MethodOptions,
    timed: Timer,
    plain: list[Attribution],
) -> list[list[Floats]]:
    """Average the heat over brighter, darker and mirrored images, as pytorch-grad-cam's `aug_smooth`."""
    views = []
    for mirrored, factor in _AUGMENTED:
        attributions = plain
        if (mirrored, factor) != _AUGMENTED[0]:
            augmented = (images[..., ::-1] if mirrored else images) * np.float32(factor)
            augmented = np.ascontiguousarray(augmented)
            attributions = _attribute(engine, card, augmented, requests, method_options, timed)
        with timed("cam"):
            maps = np.stack([signed_map for attribution in attributions for signed_map in attribution.signed_maps])
            heats = combined([maps], images.shape[2:])
            views.append(heats[..., ::-1] if mirrored else heats)
    mean = iter(np.mean(views, axis=0))
    return [[next(mean) for _ in attribution.targets] for attribution in plain]


def _attribute(
    engine: Engine,
    card: Card,
    images: Floats,
    requests: Sequence[TargetRequest],
    method_options: MethodOptions,
    timed: Timer,
) -> list[Attribution]:
    with timed("trunk"):
        crossing = engine.trunk(images)
    if method_options.method in METHODS and not any(request.ranked for request in requests):
        rows = [fixed_selectors(request, card) for request in requests]
        logits, maps = _by_gradient(engine, crossing, rows, method_options, timed)
        targets = [choose_targets(*pair, card) for pair in zip(requests, logits, strict=True)]
        return [Attribution(*each) for each in zip(logits, pool(crossing), targets, maps, strict=True)]
    with timed("tail"):
        logits, _ = engine.tail(crossing, np.zeros((len(images), card.logits), np.float32))
    targets = [choose_targets(*pair, card) for pair in zip(requests, logits, strict=True)]
    selectors = [
        np.stack([selector(group, request, card) for group in groups])
        for request, groups in zip(requests, targets, strict=True)
    ]
    if method_options.method not in METHOD_NAMES:
        maps = _by_engine(engine, images, selectors, method_options, timed)
    elif method_options.method not in METHODS:
        maps = list(_by_rerunning(engine, images, crossing, selectors, method_options, timed))
    else:
        _, maps = _by_gradient(engine, crossing, selectors, method_options, timed)
    return [Attribution(*each) for each in zip(logits, pool(crossing), targets, maps, strict=True)]


def _by_gradient(
    engine: Engine, crossing: Sequence[Floats], selectors: Sequence[Floats], method_options: MethodOptions, timed: Timer
) -> tuple[Floats, list[list[Floats]]]:
    """Run all targets of all images in few passes of the tail.

    Returns:
        Logits `[B,K]`, and the signed maps of each image.
    """
    owners = np.repeat(np.arange(len(selectors)), [len(each) for each in selectors])
    rows = np.concatenate(selectors)
    logits: list[Floats] = []
    maps: list[Floats] = []
    for start in range(0, len(rows), TAIL_ROWS):
        own = owners[start : start + TAIL_ROWS]
        images = slice(own[0], own[-1] + 1)
        with timed("tail"):
            shared = None if len(own) == own[-1] + 1 - own[0] else own - own[0]  # then a row is an image
            batch_logits, gradient = engine.tail(
                [value[images] for value in crossing], rows[start : start + TAIL_ROWS], shared
            )
        with timed("cam"):
            activation = crossing[0][images if shared is None else own]
            method, eigen_smooth = method_options.method, method_options.eigen_smooth
            if gradient is None:
                assert method in GRADIENT_FREE, "the plan refuses methods that need a gradient"
                gradient = np.zeros_like(activation)  # not read
            maps.extend(signed_map(method, activation, gradient, eigen_smooth=eigen_smooth))
        logits.extend(batch_logits)
    ordered = iter(maps)
    firsts = np.searchsorted(owners, np.arange(len(selectors)))
    return np.stack(logits)[firsts], [[next(ordered) for _ in own] for own in selectors]


def _by_engine(
    engine: Engine, images: Floats, selectors: Sequence[Floats], method_options: MethodOptions, timed: Timer
) -> list[list[Floats]]:
    """Explain by one of the engine's own methods, which start from the images."""
    assert isinstance(engine, OwnMethods), "the plan knows the engine's methods"
    owners = np.repeat(np.arange(len(selectors)), [len(each) for each in selectors])
    rows = np.concatenate(selectors)
    maps: list[Floats] = []
    for start in range(0, len(rows), RERUN_BATCH):
        span = slice(start, start + RERUN_BATCH)
        with timed("cam"):
            method, eigen_smooth = method_options.method, method_options.eigen_smooth
            maps.extend(engine.maps(method, images[owners[span]], rows[span], eigen_smooth=eigen_smooth))
    ordered = iter(maps)
    return [[next(ordered) for _ in own] for own in selectors]


def _by_rerunning(
    engine: Engine,
    images: Floats,
    crossing: Sequence[Floats],
    selectors: Sequence[Floats],
    method_options: MethodOptions,
    timed: Timer,
) -> Iterator[list[Floats]]:
    for at, rows in enumerate(selectors):
        own = [value[at : at + 1] for value in crossing]
        with timed("cam"):
            if method_options.method == RECIPROCAM:
                maps = reciprocam(engine, own, rows, RERUN_BATCH)
            else:
                weights = RERUNS[method_options.method](engine, images[at], own, rows, RERUN_BATCH)
                activation = np.repeat(own[0], len(rows), axis=0)
                maps = reduce(activation, weights, projected=method_options.eigen_smooth)
            yield list(maps)
