"""Draw a legend below a picture: lines of text and the colors from no heat to full heat; the picture stays as it is."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from heatlens.render.color import SIGNED, table
from heatlens.render.latin import latin
from heatlens.types import Colormap

MIN_WIDTH = 240  # pixels, of a picture that is narrower the legend is wider
_SMALLEST, _LARGEST = 11, 96  # pixels of a letter's height
_PER_LETTER = 48  # pixels of a picture's width for each pixel of it
_BACKGROUND, _INK = (0, 0, 0), (255, 255, 255)
_ENDS = {True: ("against", "for"), False: ("no evidence", "most")}

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def with_legend(picture: Image.Image, lines: Sequence[str], colormap: Colormap) -> Image.Image:
    """Append a legend below a picture.

    Args:
        picture: Mode RGB; the result has its pixels in the upper left.
        lines: Texts; a line that is too long is continued on the next.
        colormap: Its colors are a bar between the words for its ends.
    """
    width = max(picture.width, MIN_WIDTH)
    size = min(max(_SMALLEST, width // _PER_LETTER), _LARGEST)
    font, gap = ImageFont.load_default(size), math.ceil(size / 3)
    measure = ImageDraw.Draw(picture)
    shown = [part for line in lines for part in _wrapped(latin(line), font, measure, width - 2 * gap)]
    step = size + gap
    whole = Image.new("RGB", (width, picture.height + step * (len(shown) + 1) + 2 * gap), _BACKGROUND)
    whole.paste(picture, (0, 0))
    draw = ImageDraw.Draw(whole)
    top = picture.height + gap
    _draw_bar(whole, draw, (gap, top, width - gap, top + size), font, colormap)
    for number, text in enumerate(shown, start=1):
        draw.text((gap, top + number * step), text, _INK, font)
    return whole


def _draw_bar(
    whole: Image.Image, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], font: Font, colormap: Colormap
) -> None:
    left, top, right, bottom = box
    first, last = _ENDS[colormap in SIGNED]
    gap = bottom - top
    start = left + math.ceil(draw.textlength(first, font)) + gap
    stop = right - math.ceil(draw.textlength(last, font)) - gap
    draw.text((left, top), first, _INK, font)
    draw.text((stop + gap, top), last, _INK, font)
    colors = np.frombuffer(table(colormap), np.uint8).reshape(1, -1, 3)
    bar = Image.fromarray(colors).resize((stop - start, bottom - top), Image.Resampling.NEAREST)
    whole.paste(bar, (start, top))


def _wrapped(text: str, font: Font, draw: ImageDraw.ImageDraw, width: int) -> Iterator[str]:
    """Yield the lines of a text: it is broken between words, and within a word that is wider than a line."""
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if draw.textlength(joined, font) <= width:
            line = joined
            continue
        if line:
            yield line
        while draw.textlength(word, font) > width:
            fitting = next(n for n in range(len(word), 0, -1) if n == 1 or draw.textlength(word[:n], font) <= width)
            yield word[:fitting]
            word = word[fitting:]
        line = word
    if line:
        yield line
