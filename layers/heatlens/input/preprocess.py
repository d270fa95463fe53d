"""Convert an upright picture to the model's input [C,H,W] by the card's steps."""

from dataclasses import replace

import numpy as np
from PIL import Image

from heatlens.card import Preprocess
from heatlens.input.clahe import clahe
from heatlens.input.geometry import Scaling, Span, cropped_size, padded_size, spans_after, stages
from heatlens.input.resample import Line, resample
from heatlens.steps import COLORS, Clahe, Crop, Gray, Pad, Step, resized_size
from heatlens.types import Floats
from heatlens.values import Pixels, channels_after, channels_first, value_step

Picture = Image.Image | Pixels  # 8 bits, `L` or `RGB`; or an array [H,W,C], of which one channel may stand for all

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}

# A very thin image would fill the memory when its shorter side is enlarged, or when it is padded to a square, and so
# would its rows, which Pillow resizes first. Over this many pixels only the part that the crop keeps is resized, which
# differs in the last level along the crop's edge; without a crop by sums that never make the whole.
_LARGEST_RESIZED = 32_000_000


def preprocess(image: Picture, recipe: Preprocess) -> Floats:
    """Apply the steps of a card.

    Args:
        image: Mode `L` or `RGB`, or values `[H,W,1]` at full depth. Grayscale is resized as one channel and then
            repeated: the same values for a third of the work.
        recipe: The card's preprocessing.

    Returns:
        Float32 `[C, H, W]`. For the short form within 1e-6 of torchvision's Resize, CenterCrop, ToTensor, Normalize on
        the same image; for other steps within one gray level of the library that they name.
    """
    picture: Picture = image
    channels = COLORS
    for stage in stages(recipe.all_steps):
        if isinstance(stage, Scaling):
            picture = _scaled(picture, _unrounded(stage) if recipe.values else stage)
        else:
            picture = _stepped(picture, stage, channels)
            channels = channels_after(stage, channels)
    return channels_first(_array(picture), channels)


def _unrounded(stage: Scaling) -> Scaling:
    """Let the resizer keep the values' own precision."""
    return replace(stage, resize=stage.resize.model_copy(update={"rounded": False}))


def _stepped(picture: Picture, step: Step, channels: int) -> Picture:
    match step:
        case Crop():
            return _cropped(picture, step)
        case Pad():
            return _padded(picture, step)
        case Clahe():
            return clahe(_array(picture), step)
        case Gray() if isinstance(picture, Image.Image) and step.weights is None:
            return picture.convert("L")
        case _:
            return value_step(_array(picture), step, channels)


def _array(picture: Picture) -> Pixels:
    if not isinstance(picture, Image.Image):
        return picture
    pixels = np.asarray(picture)
    return pixels[..., None] if picture.mode == "L" else pixels


def _size(picture: Picture) -> tuple[int, int]:
    return picture.size[::-1] if isinstance(picture, Image.Image) else picture.shape[:2]


def _cropped(picture: Picture, step: Crop) -> Picture:
    rows, columns = spans_after(_size(picture), [step])
    top, left = int(rows.origin), int(columns.origin)
    if isinstance(picture, Image.Image):
        return picture.crop((left, top, left + columns.length, top + rows.length))
    return picture[top : top + rows.length, left : left + columns.length]


def _padded(picture: Picture, step: Pad) -> Picture:
    """Add a margin to an image that has its size already."""
    pixels, (height, width) = _array(picture), padded_size(_size(picture), step)
    channels = max(pixels.shape[2], len(step.fills))
    whole = np.empty((height, width, channels), pixels.dtype)
    fill = np.asarray(step.fills)
    whole[:] = np.rint(fill).clip(0, 255) if pixels.dtype == np.uint8 else fill
    top, left = step.offset(height - len(pixels)), step.offset(width - pixels.shape[1])
    whole[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return whole


# ------------------------------------------------------------------------------------------------------------ resizing


def _scaled(picture: Picture, stage: Scaling) -> Picture:
    if not isinstance(picture, Image.Image) or stage.resize.library != "pillow":
        return _resampled(_array(picture), stage)
    height, width = padded_size(_size(picture), stage.pad) if stage.pad else _size(picture)
    across = stage.resize.pair[1] if stage.resize.fit == "exact" else 0
    if height * max(width if stage.pad else 0, across) > _LARGEST_RESIZED:
        return _resampled(_array(picture), stage)
    if stage.pad is not None:
        return _resized_by_pillow(_padded_picture(picture, stage.pad), Scaling(stage.resize, crop=stage.crop))
    return _resized_by_pillow(picture, stage)


def _resized_by_pillow(image: Image.Image, stage: Scaling) -> Image.Image:
    height, width = resized_size(_size(image), stage.resize)
    resampling = _RESAMPLING[stage.resize.interpolation]
    if stage.crop is None:
        return image.resize((width, height), resampling)
    rows, columns = spans_after(_size(image), list(stage.steps))
    if width * height > _LARGEST_RESIZED:
        box = (*_in_original(columns, rows, start=True), *_in_original(columns, rows, start=False))
        return image.resize((columns.length, rows.length), resampling, box=box)
    left, top = int(columns.origin), int(rows.origin)
    return image.resize((width, height), resampling).crop((left, top, left + columns.length, top + rows.length))


def _in_original(columns: Span, rows: Span, *, start: bool) -> tuple[float, float]:
    if start:
        return columns.origin * columns.scale, rows.origin * rows.scale
    across, down = (min((span.origin + span.length) * span.scale, span.original) for span in (columns, rows))
    return across, down


def _padded_picture(image: Image.Image, step: Pad) -> Image.Image:
    height, width = padded_size(_size(image), step)
    fill = tuple(min(max(round(value), 0), 255) for value in step.fills)
    if len(fill) > 1 and image.mode == "L":
        image = image.convert("RGB")
    levels = fill * (len(image.getbands()) // len(fill))
    whole = Image.new(image.mode, (width, height), levels if len(levels) > 1 else levels[0])
    whole.paste(image, (step.offset(width - image.width), step.offset(height - image.height)))
    return whole


def _resampled(pixels: Pixels, stage: Scaling) -> Pixels:
    pad, resize, crop = stage.pad, stage.resize, stage.crop
    size = pixels.shape[:2]
    padded = padded_size(size, pad) if pad else size
    out = resized_size(padded, resize)
    kept = cropped_size(out, crop) if crop else out
    lines = []
    for axis in (0, 1):
        first = crop.offset(out[axis], kept[axis]) if crop else 0
        before = pad.offset(padded[axis] - size[axis]) if pad else 0
        lines.append(Line(size[axis], out[axis], first, first + kept[axis], before, padded[axis] if pad else 0))
    fill = pad.fills if pad else (0.0,)
    if len(fill) > pixels.shape[2]:
        pixels = np.broadcast_to(pixels, (*size, len(fill)))
    return resample(pixels, resize, lines[0], lines[1], fill)
