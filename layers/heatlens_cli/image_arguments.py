"""Find the images that a command names: files, folders, patterns, and `-` for standard input."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from heatlens_cli.console import shown
from heatlens_cli.heatmap_names import unique_images
from heatlens_cli.read_file import read_file, read_limited
from heatlens_cli.sources import walk_images

STANDARD_INPUT = Path("-")
RESULT_MARK = ".heatmap."  # in the name of every file that an earlier run wrote


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image, as its user named it, and its place below the output folder."""

    path: Path
    place: Path

    def read(self, max_bytes: int) -> bytes:
        """Read the file or standard input.

        Raises:
            FileTooLarge: It has more bytes than the limit.
            OSError: It cannot be read.
        """
        if self.path == STANDARD_INPUT:
            return read_limited(sys.stdin.buffer, max_bytes)
        return read_file(self.path, max_bytes)


@dataclass(frozen=True, slots=True)
class Found:
    """The images of all arguments, each once; `missing` says what is wrong with other arguments."""

    images: list[ImageFile]
    missing: list[str]
    repeated: list[Path]


def find_images(arguments: Sequence[Path], results: Path | None = None) -> Found:
    """Find all images; each has its path below the deepest folder that has all files and all named folders.

    Args:
        arguments: Files; folders, whose images are taken with those of all subfolders; patterns, whose `**` is any
            number of folders; `-`.
        results: The output folder, if there is one: its heatmaps of earlier runs are no images.
    """
    missing: list[str] = []
    anchors: dict[Path, Path] = {}
    paths: list[Path] = []
    for argument in arguments:
        for path, anchor in _expand(argument, results and results.resolve(), missing):
            anchors.setdefault(path, anchor)
            paths.append(path)
    images, repeated = unique_images(paths)
    folders = {path: os.path.realpath(path.parent) for path in images}
    named = [os.path.realpath(anchors[path]) for path in images if path != STANDARD_INPUT]
    common = os.path.commonpath(named) if named else ""
    return Found([ImageFile(path, _place(path, folders[path], common)) for path in images], missing, repeated)


def _place(path: Path, folder: str, common: str) -> Path:
    return Path("stdin") if path == STANDARD_INPUT else Path(os.path.relpath(folder, common), path.name)


def _expand(argument: Path, results: Path | None, missing: list[str]) -> Iterator[tuple[Path, Path]]:
    """Yield the images of one argument, each with the folder below which its place is kept."""
    if argument == STANDARD_INPUT:
        yield argument, argument
    elif argument.is_dir():
        yield from ((path, argument) for path in _below(argument, results, missing))
    elif glob.has_magic(str(argument)) and not os.path.lexists(argument):
        matches = [Path(path) for path in sorted(glob.glob(str(argument), recursive=True))]
        files = [path for path in matches if not path.is_dir() and not _is_result(path, results)]
        if not files:
            missing.append(f"{shown(argument)}: no file matches")
        yield from ((path, path.parent) for path in files)
    else:
        yield argument, argument.parent


def _below(root: Path, results: Path | None, missing: list[str]) -> list[Path]:
    errors: list[OSError] = []
    found = [path for path in walk_images(root, errors) if _may_end(path) and not _is_result(path, results)]
    missing += [f"{shown(error.filename)}: {error.strerror}" for error in errors]
    if not found and not errors:
        missing.append(f"{shown(root)}: the folder has no images")
    return sorted(found)


def _may_end(path: Path) -> bool:
    """Whether reading a file ends: a pipe or a device may not. A broken link is read, and fails."""
    return path.is_file() or not path.exists()


def _is_result(path: Path, results: Path | None) -> bool:
    return results is not None and RESULT_MARK in path.name and path.resolve().is_relative_to(results)
