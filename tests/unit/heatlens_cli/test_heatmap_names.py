"""Heatmaps of different images, and of different classes of one image, never share a name."""

from pathlib import Path

from heatlens_cli.heatmap_names import heatmap_name, unique_images


def test_a_file_named_in_two_ways_is_one_image(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    first, again, other = tmp_path / "a" / "x.png", tmp_path / "link" / ".." / "a" / "x.png", tmp_path / "x.png"

    assert unique_images([first, again, other, first]) == ([first, other], [again, first])


def test_the_full_name_of_the_image_is_kept() -> None:
    names = {heatmap_name(Path("a", name), ".png") for name in ("scan.jpg", "scan.png", "scan")}

    assert names == {Path("a", f"{name}.heatmap.png") for name in ("scan.jpg", "scan.png", "scan")}


def test_the_name_of_a_class_has_no_letter_that_a_file_name_cannot_have() -> None:
    names = [
        heatmap_name(Path("a/s.png"), ".jpg", indices=(7,), label=label) for label in ("../x/y", "tiger cat", "x" * 300)
    ]

    assert [str(name) for name in names] == [
        "a/s.png.7-_x_y.heatmap.jpg",
        "a/s.png.7-tiger_cat.heatmap.jpg",
        f"a/s.png.7-{'x' * 24}.heatmap.jpg",
    ]
