"""Prove compiled graphs: compare their explanations with pytorch-grad-cam's of the original network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from heatlens.card import Parity
from heatlens.engines.base import Engine
from heatlens.engines.default_map import explain_by_default
from heatlens.errors import ParityError
from heatlens.explain.multi_layer import combined
from heatlens.types import Floats
from heatlens_torch.batch_size import limit_batch
from heatlens_torch.errors import INSTEAD
from heatlens_torch.graph.grids import Layout
from heatlens_torch.loading.spec import PROOF_INPUTS
from heatlens_torch.proof import in_float64, reference, rounding, ties
from heatlens_torch.proof.rounding import Doubles

COMBINED_INPUTS = 12  # one batch of each size; each layer alone is proven on all inputs
THRESHOLD = 1e-4
NONEMPTY_SHARE = 0.9
BATCH_SIZES = (1, 3, 8)  # in turn, to notice a graph that works with one size only; 1 and 2 of the largest images


@dataclass(frozen=True, slots=True)
class Explained:
    """Of `N` images: `logits` `[N,K]`, `gradient` `[N,C,h,w]`, `signed_map` `[N,h,w]`.

    Where the tail has no gradient, `gradient` is `[N,0]`.
    """

    logits: Floats
    gradient: Floats
    signed_map: Floats

    def of(self, images: npt.NDArray[Any] | list[int]) -> Self:
        """Select some of the images."""
        return type(self)(self.logits[images], self.gradient[images], self.signed_map[images])


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof found: the card's parity, which images were compared, and the originals' explanations.

    `originals` are of the images that were tried first, in their order, also where they were set aside.
    """

    parity: Parity
    kept: list[int]
    originals: Explained


def join(parts: list[Explained]) -> Explained:
    """Join the explanations of several batches."""
    return Explained(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.gradient for part in parts]),
        np.concatenate([part.signed_map for part in parts]),
    )


def explain_compiled(engine: Engine, images: Floats, selector: Floats) -> Explained:
    """Explain images by the default method with the compiled graphs, in batches of different sizes.

    Args:
        engine: Executes the graphs.
        images: `[N,3,H,W]`, preprocessed.
        selector: `[N,K]`; a row of zeros is the predicted class.
    """
    parts = []
    for span in spans(images.shape):
        found = explain_by_default(engine, images[span], selector[span])
        none = np.zeros((len(found.logits), 0), np.float32)
        parts.append(Explained(found.logits, none if found.gradient is None else found.gradient, found.signed_map))
    return join(parts)


def explain_reference(network: nn.Module, layer: str, images: Floats, layout: Layout) -> Explained:
    """Explain each image's predicted class with pytorch-grad-cam, in the same batches."""
    parts = []
    for span in spans(images.shape):
        theirs = reference.explain(network, layer, torch.from_numpy(images[span]), layout=layout)
        parts.append(Explained(theirs.logits, theirs.gradient, theirs.signed_map))
    return join(parts)


def prove(
    engine: Engine,
    network: nn.Module,
    layer: str,
    images: Floats,
    layout: Layout,
    *,
    inputs: int = PROOF_INPUTS,
    make_spare: Callable[[], Floats] | None = None,
) -> Proven:
    """Compare the compiled explanation of each image's predicted class with pytorch-grad-cam's.

    Args:
        engine: Executes the compiled graphs.
        network: The original, in evaluation mode.
        layer: Module path of the target.
        images: `[N,3,H,W]`, preprocessed, `inputs` or more: the first are compared. An image on which
            pytorch-grad-cam's own explanation moves by rounding as far as ours differs is set aside, and the next one
            takes its place.
        layout: Of the layer's output.
        inputs: How many images are compared.
        make_spare: Makes further images, called only where those are too few.

    Returns:
        Its parity is `max |difference| / max |value|` of the signed map and the gradient (worst image) and of the
        logits (all).

    Raises:
        ParityError: A ratio is above the threshold, too few maps have positive evidence, or too few images are left to
            compare.
    """
    compared, moves, first = _Compared(), [], None
    waiting = list(range(len(images)))
    while len(compared.kept) < inputs:
        if not waiting and make_spare:
            spare, make_spare = make_spare(), None
            waiting = list(range(len(images), len(images) + len(spare)))
            images = np.concatenate([images, spare])
        if not waiting:
            break
        missing = inputs - len(compared.kept)
        turn, waiting = waiting[:missing], waiting[missing:]
        tried = images[turn[0] : turn[-1] + 1]  # a view: a copy of many large images takes as much as a batch
        theirs = explain_reference(network, layer, tried, layout)
        first = first or theirs
        ours = explain_compiled(engine, tried, np.zeros_like(theirs.logits))
        own = _undecided_moves(network, layer, layout, tried, ours, theirs)
        compared.add(turn, ours, theirs, decided=own == 0)
        moves += own[own > 0].tolist()
    if first is None or len(compared.kept) < inputs:
        raise ParityError(
            f"{reference.name()}'s own explanation of {layer!r} moves by up to {max(moves):.1e} on {len(moves)} of "
            f"{len(images)} inputs when these move by float32's rounding, so there is nothing to equal: an activation "
            f"behind the layer jumps there; choose a later layer, or other images under `inputs`; {INSTEAD}"
        )
    theirs, ours = join(compared.theirs), join(compared.ours)
    parity = Parity(
        inputs=len(compared.kept),
        nonempty=int((theirs.signed_map.max(axis=(1, 2)) > 0).sum()),
        undecided=len(moves),
        signed_map=max(map(ratio, ours.signed_map, theirs.signed_map)),
        gradient=max(map(ratio, ours.gradient, theirs.gradient)),
        logits=ratio(ours.logits, theirs.logits),
        threshold=THRESHOLD,
        reference=reference.name(),
    )
    if not parity.largest <= parity.threshold:
        raise _different(parity, layer, _cause(network, layer, layout, images[compared.kept], ours, theirs))
    _demand_evidence(parity, layer)
    return Proven(parity, compared.kept, first)


def prove_combined(
    engines: Mapping[str, Engine], network: nn.Module, layouts: Mapping[str, Layout], images: Floats, logits: int
) -> float:
    """Compare the combined heat of all layers with pytorch-grad-cam's, of each image's predicted class.

    Args:
        engines: Of each layer.
        network: The original, in evaluation mode.
        layouts: Of each layer's output.
        images: `[N,3,H,W]`, preprocessed.
        logits: K.

    Returns:
        The largest difference; the heat is in 0..1.

    Raises:
        ParityError: It is above the threshold.
    """
    difference = 0.0
    for span in spans(images.shape):
        theirs = reference.combined(network, layouts, torch.from_numpy(images[span]))
        selector = np.zeros((len(theirs), logits), np.float32)
        maps = [explain_compiled(engine, images[span], selector).signed_map for engine in engines.values()]
        ours = combined(maps, images.shape[2:])
        difference = max(difference, float(np.abs(ours - theirs).max()))
    if not difference <= THRESHOLD:
        raise ParityError(
            f"the combined map of {', '.join(layouts)} differs from {reference.name()}: "
            f"{difference:.1e} of its range, allowed {THRESHOLD:.0e}"
        )
    return difference


def ratio(ours: Floats, theirs: Floats) -> float:
    """Compute `max |ours - theirs| / max |theirs|`; infinite if the shapes differ or a value is not finite."""
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return float("inf")
    difference, scale = float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())
    if difference == 0:
        return 0.0
    return difference / scale if scale > 0 else float("inf")


@dataclass(slots=True)
class _Compared:
    """The images that are compared so far, and both explanations of them."""

    kept: list[int] = field(default_factory=list)
    ours: list[Explained] = field(default_factory=list)
    theirs: list[Explained] = field(default_factory=list)

    def add(self, turn: list[int], ours: Explained, theirs: Explained, *, decided: npt.NDArray[np.bool_]) -> None:
        self.kept += [index for index, counts in zip(turn, decided, strict=True) if counts]
        self.ours.append(ours.of(decided))
        self.theirs.append(theirs.of(decided))


def _undecided_moves(
    network: nn.Module, layer: str, layout: Layout, images: Floats, ours: Explained, theirs: Explained
) -> Doubles:
    """Measure how far rounding moves pytorch-grad-cam's explanation of each image; 0 where the comparison counts.

    It is measured only where the compiled explanation differs, and sets an image aside only if it is as large as that
    difference. Logits do not jump, so no image is set aside for a difference of theirs.
    """
    own = np.zeros(len(images))
    far = distances(ours, theirs)
    [doubtful] = np.nonzero((far > THRESHOLD) & (_logit_distances(ours, theirs) <= THRESHOLD))
    if len(doubtful):
        original = theirs.of(doubtful)
        moves = rounding.largest_moves(
            lambda nudged: distances(explain_reference(network, layer, nudged, layout), original), images[doubtful]
        )
        own[doubtful] = np.where((moves > THRESHOLD) & (far[doubtful] <= rounding.SIDES * moves), moves, 0)
    return own


def distances(ours: Explained, theirs: Explained) -> Doubles:
    """Compute the larger ratio of map and gradient for each image."""
    pairs = [(ours.signed_map, theirs.signed_map), (ours.gradient, theirs.gradient)]
    ratios: Doubles = np.array([list(map(ratio, mine, other)) for mine, other in pairs])
    return np.asarray(ratios.max(axis=0))


def _logit_distances(ours: Explained, theirs: Explained) -> Doubles:
    apart: Doubles = np.abs(ours.logits - theirs.logits).max(axis=1) / np.abs(theirs.logits).max()
    return apart


def _cause(network: nn.Module, layer: str, layout: Layout, images: Floats, ours: Explained, theirs: Explained) -> str:
    """Say why the image differs that differs most."""
    worst = int(np.maximum(distances(ours, theirs), _logit_distances(ours, theirs)).argmax())
    image, mine, other = images[[worst]], ours.of([worst]), theirs.of([worst])
    found = [(each.signed_map, each.gradient, each.logits) for each in (mine, other)]
    return ties.cause(network, image, mine.gradient[0], other.gradient[0], allowed=THRESHOLD) or in_float64.cause(
        network, layer, layout, image, *found
    )


def _different(parity: Parity, layer: str, cause: str) -> ParityError:
    return ParityError(
        f"the compiled explanation of {layer!r} differs from {parity.reference}: "
        f"signed map {parity.signed_map:.1e}, gradient {parity.gradient:.1e}, logits {parity.logits:.1e}, "
        f"allowed {parity.threshold:.0e}{cause}; choose another layer; {INSTEAD}"
    )


def _demand_evidence(parity: Parity, layer: str) -> None:
    if parity.nonempty < NONEMPTY_SHARE * parity.inputs:
        raise ParityError(
            f"only {parity.nonempty} of {parity.inputs} maps of {layer!r} have positive evidence, "
            "so comparing them proves nothing: use trained weights, or name images the network knows under `inputs`"
        )


def spans(shape: Sequence[int]) -> Iterator[slice]:
    """Yield the batches of images `[N,C,H,W]`, of different sizes in turn."""
    total, _, height, width = shape
    largest = max(2, limit_batch(max(BATCH_SIZES), height, width))
    sizes = sorted({min(size, largest) for size in BATCH_SIZES})
    start = turn = 0
    while start < total:
        size = sizes[turn % len(sizes)]
        yield slice(start, start + size)
        start, turn = start + size, turn + 1
