"""A picture that is made a strip of rows at a time: no stage needs memory for a whole one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from heatlens.render.enlarge import strip_rows


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture of `size` (width, height) and mode `L` or `RGB`; `draw` makes its rows from one up to another."""

    size: tuple[int, int]
    mode: str
    draw: Callable[[int, int], Image.Image]

    def strips(self) -> Iterator[Image.Image]:
        """Draw it from top to bottom."""
        width, height = self.size
        rows = strip_rows(width)
        for top in range(0, height, rows):
            yield self.draw(top, min(top + rows, height))

    def whole(self) -> Image.Image:
        """Draw all of it, without any metadata."""
        image, top = Image.new(self.mode, self.size), 0
        for strip in self.strips():
            image.paste(strip, (0, top))
            top += strip.height
        return image


def drawing_of(image: Image.Image) -> Drawing:
    """Make a drawing of an image, mode `L` or `RGB`."""
    return Drawing(image.size, image.mode, lambda top, bottom: image.crop((0, top, image.width, bottom)))
