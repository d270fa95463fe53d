import io
from pathlib import Path

import pytest
from PIL import Image

from heatlens_cli.contact_sheet import CAPTION, COLUMNS, GAP, ROWS, SIDE, ContactSheet, thumbnail
from heatlens_cli.explain_files import WouldOverwrite
from heatlens_cli.file_explanation import ClassHeatmap, FileExplanation


def picture(color: str, size: tuple[int, int] = (600, 300)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def answer(*colors: str) -> FileExplanation:
    heatmaps = tuple(ClassHeatmap(color, (0,), 0.5, "ok", {".png": picture(color)}) for color in colors)
    return FileExplanation("A", 0.5, heatmaps)


def draw(path: Path, answers: list[FileExplanation], *, force: bool = False) -> None:
    sheet = ContactSheet(path, force=force)
    images = [Path(f"{number}.png") for number in range(len(answers))]
    with sheet.running(images):
        for image, each in zip(images, answers, strict=True):
            sheet.explained(image, each, [])
    sheet.summary(len(answers))


def test_each_heatmap_has_a_cell_in_its_order(tmp_path: Path) -> None:
    draw(tmp_path / "sheet.png", [answer("red", "lime"), answer("blue")])

    with Image.open(tmp_path / "sheet.png") as sheet:
        width = GAP + 3 * (SIDE + GAP)
        assert sheet.size == (width, GAP + SIDE + CAPTION + GAP)
        middles = [(GAP + number * (SIDE + GAP) + SIDE // 2, GAP + SIDE // 2) for number in range(3)]
        assert [sheet.getpixel(middle) for middle in middles] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_more_heatmaps_than_cells_make_another_sheet(tmp_path: Path) -> None:
    draw(tmp_path / "sheet.png", [answer("red")] * (COLUMNS * ROWS + 1))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["sheet-2.png", "sheet.png"]


def test_a_sheet_is_overwritten_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    path.write_bytes(b"kept")

    with pytest.raises(WouldOverwrite, match="choose another --sheet"):
        draw(path, [answer("red")])

    assert path.read_bytes() == b"kept"
    draw(path, [answer("red")], force=True)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_thumbnail_keeps_the_shape() -> None:
    assert thumbnail(picture("red", (600, 200)), 240).size == (240, 80)


def test_a_long_name_fits_its_cell(tmp_path: Path) -> None:
    sheet = ContactSheet(tmp_path / "sheet.png")
    sheet.explained(Path("w" * 200 + ".png"), answer("white"), [])
    sheet.summary(1)

    with Image.open(tmp_path / "sheet.png") as image:
        edge = image.crop((GAP + SIDE, 0, image.width, image.height))
        assert edge.getcolors() == [(edge.width * edge.height, (255, 255, 255))]


def test_a_later_sheet_that_exists_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "sheet-2.png").write_bytes(b"kept")
    sheet = ContactSheet(tmp_path / "sheet.png")

    with pytest.raises(WouldOverwrite, match=r"sheet-2\.png exists"):
        sheet.running([Path(f"{number}.png") for number in range(COLUMNS * ROWS + 1)])
