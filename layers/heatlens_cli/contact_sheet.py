"""Draw the heatmaps of a run as contact sheets: pictures in rows, each with its file and its class."""

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from heatlens.render.latin import latin
from heatlens_cli.console import say, shown
from heatlens_cli.file_explanation import FileExplanation
from heatlens_cli.report_file import ReportFile

COLUMNS, ROWS = 6, 6  # of one sheet
SIDE, CAPTION, GAP = 240, 44, 12  # pixels
PAPER, INK, FAINT = (255, 255, 255), (20, 24, 28), (90, 98, 106)
TEXT_SIZE = 14


class ContactSheet:
    """Collects the pictures of a run, and writes a PNG for each 36 of them: `sheet.png`, `sheet-2.png`, …

    A file that failed has no picture.
    """

    def __init__(self, path: Path, *, force: bool = False, announce: Callable[[str], None] = say) -> None:
        self._file = ReportFile(path, "--sheet", force)
        self._announce = announce
        self._cells: list[Image.Image] = []
        self._written: list[Path] = []

    def running(self, images: Sequence[Path]) -> AbstractContextManager[object]:
        """Begin a run.

        Raises:
            WouldOverwrite: A file exists and may not be overwritten.
            NotWritten: The folder cannot be written to.
        """
        sheets = -(-len(images) // (COLUMNS * ROWS))  # more, if an image has several heatmaps
        self._file.begin(images, map(self._sheet, range(2, sheets + 1)))
        return nullcontext()

    def explained(self, image: Path, answer: FileExplanation, written: Sequence[Sequence[Path]]) -> None:
        """Add the pictures of a file, and write a sheet that is full."""
        for paths in written:
            self._file.keep(paths)
        for heatmap in answer.heatmaps:
            if heatmap.picture is None:
                continue
            caption = f"{heatmap.label} {heatmap.probability:.3f}, {heatmap.quality}"
            self._cells.append(_cell(heatmap.picture, image.name, caption))
            if len(self._cells) == COLUMNS * ROWS:
                self._write()

    def failed(self, image: Path, reason: str) -> None:
        """Leave a file out."""

    def summary(self, count: int) -> None:
        """Write the last sheet."""
        del count
        if self._cells:
            self._write()
        for path in self._written:
            self._announce(f"contact sheet: {shown(path)}")

    def _write(self) -> None:
        columns = min(COLUMNS, len(self._cells))
        rows = -(-len(self._cells) // columns)
        sheet = Image.new("RGB", (columns * (SIDE + GAP) + GAP, rows * (SIDE + CAPTION + GAP) + GAP), PAPER)
        for number, cell in enumerate(self._cells):
            row, column = divmod(number, columns)
            sheet.paste(cell, (GAP + column * (SIDE + GAP), GAP + row * (SIDE + CAPTION + GAP)))
        self._cells.clear()
        path = self._sheet(len(self._written) + 1)
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG")
        self._file.write(buffer.getvalue(), path)
        self._file.keep([path])
        self._written.append(path)

    def _sheet(self, number: int) -> Path:
        first = self._file.path
        return first if number == 1 else first.with_name(f"{first.stem}-{number}{first.suffix}")


def thumbnail(picture: bytes, side: int) -> Image.Image:
    """Decode a picture and reduce it to fit a square."""
    with Image.open(io.BytesIO(picture)) as image:
        image.draft("RGB", (side, side))
        small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=2.0)
    return small


def _cell(picture: bytes, name: str, caption: str) -> Image.Image:
    cell = Image.new("RGB", (SIDE, SIDE + CAPTION), PAPER)
    small = thumbnail(picture, SIDE)
    cell.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    draw = ImageDraw.Draw(cell)
    font = ImageFont.load_default(TEXT_SIZE)
    draw.text((0, SIDE + 4), _fitting(draw, font, latin(shown(name))), INK, font)
    draw.text((0, SIDE + 24), _fitting(draw, font, latin(shown(caption))), FAINT, font)
    return cell


def _fitting(draw: ImageDraw.ImageDraw, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", text: str) -> str:
    """Shorten a text in its middle, where names differ least, to the width of a cell."""
    if draw.textlength(text, font) <= SIDE:
        return text
    keep = len(text)
    while keep > 2 and draw.textlength(_shortened(text, keep), font) > SIDE:
        keep -= 1
    return _shortened(text, keep)


def _shortened(text: str, keep: int) -> str:
    return f"{text[: keep // 2]}...{text[len(text) - (keep + 1) // 2 :]}"
