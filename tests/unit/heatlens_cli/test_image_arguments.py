import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from heatlens.errors import FileTooLarge
from heatlens_cli.image_arguments import STANDARD_INPUT, ImageFile, find_images


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def places(folder: Path, *arguments: str, results: str = "out") -> list[str]:
    found = find_images([folder / argument for argument in arguments], folder / results)
    assert found.missing == []
    return [image.place.as_posix() for image in found.images]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["x/a/scan.png"], ["scan.png"]),
        (["x/a/scan.png", "x/a/other.jpg"], ["scan.png", "other.jpg"]),
        (["x/a/scan.png", "x/b/scan.png"], ["a/scan.png", "b/scan.png"]),
        (["x/scan.png", "x/b/scan.png"], ["scan.png", "b/scan.png"]),
        (["x/a/../b/scan.png", "x/a/scan.png"], ["b/scan.png", "a/scan.png"]),
        (["x"], ["a/other.jpg", "a/scan.png", "b/scan.png", "scan.png"]),
        (["x/b"], ["scan.png"]),
        (["x/b", "x/a"], ["b/scan.png", "a/other.jpg", "a/scan.png"]),
        (["x/*/scan.png"], ["a/scan.png", "b/scan.png"]),
        (["x/**/s?an.png"], ["a/scan.png", "b/scan.png", "scan.png"]),
        (["x/a", "x/a/scan.png"], ["other.jpg", "scan.png"]),
    ],
)
def test_an_image_keeps_its_path_below_the_common_folder(
    arguments: list[str], expected: list[str], tmp_path: Path
) -> None:
    touch(tmp_path, "x/a/scan.png", "x/a/other.jpg", "x/b/scan.png", "x/scan.png", "x/notes.txt")

    assert places(tmp_path, *arguments) == expected


def test_heatmaps_of_an_earlier_run_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "scan.png", "out/scan.png.heatmap.png", "out/scan.png.1-A.heatmap.map.png", "x.heatmap.png")

    assert places(tmp_path, ".") == ["scan.png", "x.heatmap.png"]
    assert places(tmp_path, "**/*.png") == ["scan.png", "x.heatmap.png"]
    assert places(tmp_path, "out/scan.png.heatmap.png") == ["scan.png.heatmap.png"]  # named by itself


def test_what_is_not_there_is_said_and_the_rest_is_found(tmp_path: Path) -> None:
    touch(tmp_path, "a/scan.png", "[1].png")
    (tmp_path / "empty").mkdir()

    found = find_images([tmp_path / name for name in ("empty", "*.gif", "[1].png", "a", "gone.png")], tmp_path / "out")

    assert [image.path.name for image in found.images] == ["[1].png", "scan.png", "gone.png"]
    assert found.missing == [
        f"{tmp_path}/empty: the folder has no images",
        f"{tmp_path}/*.gif: no file matches",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)

    assert find_images([tmp_path], tmp_path / "out").missing == [f"{tmp_path}/closed: Permission denied"]


def test_standard_input_is_one_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"image")))

    found = find_images([STANDARD_INPUT, STANDARD_INPUT], tmp_path)

    assert (found.images, found.repeated) == ([ImageFile(STANDARD_INPUT, Path("stdin"))], [STANDARD_INPUT])
    assert found.images[0].read(5) == b"image"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"images")))
    with pytest.raises(FileTooLarge):
        found.images[0].read(5)
