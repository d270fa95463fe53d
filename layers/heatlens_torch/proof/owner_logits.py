"""Compare the logits of one image with those that the owner's own code gave for it, and find what would agree."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import nn

from heatlens.card import OwnerReference, Preprocess
from heatlens.errors import HeatlensError, ModelFileError
from heatlens.input.decode import decode
from heatlens.input.preprocess import Picture, preprocess
from heatlens.steps import COLORS, INTERPOLATIONS, Channels, Crop, Normalize, Pad, Resize, Scale, Step, Value, Values
from heatlens.types import Floats
from heatlens.values import Pixels, channels_first, value_step
from heatlens_torch.batch_size import limit_batch
from heatlens_torch.errors import running
from heatlens_torch.loading.spec import ModelSpec

MOST_PIXELS = 200_000_000
BATCH = 8
SHOWN = 4  # logits in a message

Steps = tuple[Step, ...]
Tried = tuple[tuple[str, ...], float]  # what is different, in words, and how far the logits are from the owner's


def compare_with_owner(network: nn.Module, spec: ModelSpec, home: Path) -> OwnerReference | None:
    """Run the image of the description's `reference`, and compare; `None` where the description has none.

    Args:
        network: In evaluation mode, with its weights.
        spec: The description.
        home: Where its paths begin.

    Raises:
        ModelFileError: The image or the logits cannot be read, or the logits differ. The message says by how much, and
            which other preprocessing would agree.
    """
    given = spec.reference
    if given is None:
        return None
    theirs = _logits(given.logits, home, spec.logits)
    data = _bytes(home / given.image)
    image = _picture(data, spec.preprocess, given.image)
    ours = _run(network, [preprocess(image, spec.preprocess)])[0]
    difference = _difference(ours, theirs)
    if not difference <= given.tolerance:
        raise ModelFileError(
            f"reference: the logits of {given.image} differ from yours by {difference:.2g} of the largest (allowed "
            f"{given.tolerance:g}): ours are {_shown(ours)}, yours {_shown(theirs)}. "
            + _cause(ours, theirs, given.tolerance, lambda: _tried(network, spec.preprocess, data, theirs))
        )
    return OwnerReference(
        sha256=hashlib.sha256(data).hexdigest(),
        logits=tuple(theirs.tolist()),
        difference=difference,
        tolerance=given.tolerance,
    )


def _logits(given: tuple[float, ...] | str, home: Path, count: int) -> Floats:
    if isinstance(given, str):
        try:
            values: Floats = np.load(home / given, allow_pickle=False).astype(np.float32).ravel()
        except (OSError, ValueError, EOFError) as error:
            raise ModelFileError(f"reference: {given}: no readable .npy file of numbers") from error
    else:
        values = np.asarray(given, np.float32)
    if len(values) != count:
        raise ModelFileError(f"reference: {len(values)} logits, and the network answers {count}")
    if not np.isfinite(values).all():
        raise ModelFileError("reference: logits that are not finite")
    return values


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"reference: {path.name}: no such readable file") from error


def _picture(data: bytes, recipe: Preprocess, name: str) -> Picture:
    try:
        found = decode(data, max_pixels=MOST_PIXELS, window=recipe.window, values=recipe.values)
    except HeatlensError as error:
        raise ModelFileError(f"reference: {name}: {error}") from error
    return found.image if found.values is None else found.values


def _run(network: nn.Module, images: Sequence[Floats]) -> Floats:
    """Compute the logits `[N,K]` of preprocessed images `[C,H,W]`."""
    found = []
    size = limit_batch(BATCH, *images[0].shape[1:])
    for start in range(0, len(images), size):
        batch = torch.from_numpy(np.stack(images[start : start + size]))
        # Some networks do not run on a batch of one.
        batch = batch if len(batch) > 1 else batch.repeat(2, 1, 1, 1)
        with torch.no_grad(), running(batch.shape):
            found.append(network(batch).reshape(len(batch), -1).float().numpy())
    logits: Floats = np.concatenate(found)[: len(images)]
    return logits


def _difference(ours: Floats, theirs: Floats) -> float:
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-6))


def _shown(logits: Floats) -> str:
    values = ", ".join(f"{value:.4g}" for value in logits[:SHOWN])
    return f"[{values}{', …' if len(logits) > SHOWN else ''}]"


# --------------------------------------------------------------------------------------------------------------- cause


def _cause(ours: Floats, theirs: Floats, tolerance: float, find: Callable[[], Iterator[Tried]]) -> str:
    """Say which other preprocessing would agree: first of those with one change, then with several."""
    if (squashed := _squashed(ours, theirs, tolerance)) is not None:
        return f"Yours are {squashed} of ours: give the logits, before it."
    tried = sorted(find(), key=lambda each: (len(each[0]), each[1]))
    agreeing = [each for each in tried if each[1] <= tolerance]
    if agreeing:
        words, difference = agreeing[0]
        return f"They would agree ({difference:.1g}) with {' and '.join(words)}."
    if not tried:
        return "Check the weights."
    words, difference = min(tried, key=lambda each: each[1])
    return (
        f"No other resizer, order of channels or range of values agrees; the nearest is {' and '.join(words)} "
        f"({difference:.2g}): check the weights."
    )


def _tried(network: nn.Module, recipe: Preprocess, data: bytes, theirs: Floats) -> Iterator[Tried]:
    """Yield what could be different, in words, and how far the logits are from the owner's with it."""
    if recipe.values is not None:
        for change, tensor in _at_full_depth(recipe, recipe.values, data):
            yield (change,), _difference(_run(network, [tensor])[0], theirs)
        return
    # The image is resized once for every resizer: the order of channels and the range of values come after it.
    image = _picture(data, recipe, "")
    values = list(product(_orders(recipe), _ranges(recipe.all_steps)))
    for resizer, steps in _resizers(recipe.all_steps):
        moved = [step for step in steps if not isinstance(step, Value | Channels)]
        levels = preprocess(image, Preprocess(steps=tuple(moved))).transpose(1, 2, 0)
        inputs = {
            (resizer, order, unit): _with_values(levels, (*ordered, *ranged), recipe.channels)
            for (order, ordered), (unit, ranged) in values
        }
        for words, logits in zip(inputs, _run(network, list(inputs.values())), strict=True):
            if any(words):
                yield tuple(word for word in words if word), _difference(logits, theirs)


def _at_full_depth(recipe: Preprocess, own: Values, data: bytes) -> Iterator[tuple[str, Floats]]:
    """Yield the input with another resizer, or with the file's values read in another way."""
    image = _picture(data, recipe, "")
    for words, steps in _resizers(recipe.all_steps):
        if words:
            yield words, preprocess(image, Preprocess(steps=steps))
    for changed, reading in _readings(own):
        other = Preprocess(steps=(reading, *recipe.all_steps[1:]))
        yield changed, preprocess(_picture(data, other, ""), other)


def _readings(own: Values) -> Iterator[tuple[str, Values]]:
    rescaled = product(("rescaled",), ("keep", "maximum"), ("none", "maximum"))
    stored = product(("stored",), ("keep", "maximum", "bits"), ("none", "maximum", "bits"))
    for way in (*rescaled, *stored):
        fields = dict(zip(("of", "monochrome1", "scale"), way, strict=True))
        changed = {key: value for key, value in fields.items() if value != getattr(own, key)}
        if changed:
            yield ", ".join(f'{key} = "{value}"' for key, value in changed.items()), own.model_copy(update=changed)


def _with_values(levels: Floats, steps: Steps, channels: int) -> Floats:
    pixels: Pixels = levels
    for step in steps:
        pixels = value_step(pixels, step, pixels.shape[2])
    return channels_first(pixels, channels)


def _squashed(ours: Floats, theirs: Floats, tolerance: float) -> str | None:
    """Name the function of the logits that the owner's numbers are, `None` if they are none."""
    wide = ours.astype(np.float64)
    powers = np.exp(wide - wide.max())
    for name, values in (("a softmax", powers / powers.sum()), ("a sigmoid", 1 / (1 + np.exp(-wide)))):
        if len(ours) + (name == "a sigmoid") > 1 and _difference(values.astype(np.float32), theirs) <= tolerance:
            return name
    return None


def _resizers(steps: Steps) -> Iterator[tuple[str, Steps]]:
    yield "", steps
    for library, interpolations in INTERPOLATIONS.items():
        for interpolation in interpolations:
            for antialias in (True, False) if library in ("torchvision", "scikit-image") else (True,):
                fields: dict[str, object] = {"library": library, "interpolation": interpolation, "antialias": antialias}
                fields |= {"rounded": None, "border": None}
                changed = tuple(step.model_copy(update=fields) if isinstance(step, Resize) else step for step in steps)
                if changed != steps:
                    plain = "" if antialias else ", antialias = false"
                    yield f'library = "{library}", interpolation = "{interpolation}"{plain}', changed
    if any(isinstance(step, Crop | Pad) for step in steps):
        shape = Preprocess(steps=steps).shape
        exact = {"size": shape, "fit": "exact"}
        kept = [step for step in steps if not isinstance(step, Crop | Pad)]
        stretched: list[Step] = [step.model_copy(update=exact) if isinstance(step, Resize) else step for step in kept]
        yield f"the image stretched to {list(shape)}", tuple(stretched)


def _orders(recipe: Preprocess) -> Iterator[tuple[str, Steps]]:
    own = tuple(step for step in recipe.all_steps if isinstance(step, Channels))
    yield "", own
    if own:
        yield "channels in the order RGB", ()
    elif recipe.channels == COLORS:
        yield "channels in the order BGR", (Channels(order="BGR"),)


def _ranges(steps: Steps) -> Iterator[tuple[str, Steps]]:
    values = tuple(step for step in steps if isinstance(step, Value))
    normalize = tuple(step for step in values if isinstance(step, Normalize))
    yield "", values
    others: tuple[tuple[str, Steps], ...] = (
        ("values of 0 to 255, without mean and std", ()),
        ("values of 0 to 1, without mean and std", (Scale(),)),
        ("values of -1 to 1", (Scale(factor=2 / 255, offset=-1.0),)),
        ("mean and std on values of 0 to 255", normalize),
        ("mean and std on values of 0 to 1", (Scale(), *normalize)),
    )
    for words, other in others:
        if other != values and (normalize or "mean and std on" not in words):
            yield words, other
