"""Sort the files of a source into those that can be sent and those that cannot, by name and size."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from heatlens.errors import EmptyFile, FileTooLarge
from heatlens_cli.console import shown
from heatlens_cli.explain_files import WouldOverwrite
from heatlens_cli.sources import RESULT_SUFFIX, Image, RejectedFile

RESULTS = "results.jsonl"
JOURNAL = ".heatlens-batch.json"  # what the run has declared, for resuming it
BAD_NAME = "source.name"
MAX_NAME_BYTES = 255  # of a file or folder, on the usual file systems


def split_by_name(
    files: Iterable[Image | RejectedFile], *, one_case: bool, suffixes: Sequence[str] = (RESULT_SUFFIX,)
) -> tuple[list[Image], list[RejectedFile]]:
    """Split files into those that can be sent and those whose name or emptiness prevents it.

    Args:
        files: The files of the source.
        one_case: Whether `A.png` and `a.png` are one file in the output folder.
        suffixes: What is appended to a name for each file that is written.

    Returns:
        Both lists, sorted by name.
    """
    images: list[Image] = []
    refused: list[RejectedFile] = []
    taken, folders = {RESULTS, JOURNAL}, set[str]()
    for file in sorted(files, key=lambda file: file.name):
        if isinstance(file, RejectedFile):
            refused.append(file)
            continue
        targets = {_folded(file.name + suffix, one_case=one_case) for suffix in suffixes}
        above = {str(parent) for parent in PurePosixPath(min(targets)).parents}
        fault = _name_fault(file.name, suffixes) or _size_fault(file.size)
        if not fault and (targets & (taken | folders) or above & taken):
            fault = BAD_NAME, "its heatmap would overwrite another file: rename it"
        if fault:
            refused.append(RejectedFile(file.name, *fault))
            continue
        taken |= targets
        folders |= above
        images.append(file)
    return images, refused


def split_by_size(images: Iterable[Image], max_bytes: int) -> tuple[list[Image], list[RejectedFile]]:
    """Split images into those within the server's limit and those over it."""
    within: list[Image] = []
    over: list[RejectedFile] = []
    for image in images:
        if image.size <= max_bytes:
            within.append(image)
        else:
            reason = f"the file is over the limit of {max_bytes:,} bytes per file"
            over.append(RejectedFile(image.name, FileTooLarge.code, reason))
    return within, over


def check_free(folder: Path, names: Iterable[str], *, fresh: bool, suffixes: Sequence[str] = (RESULT_SUFFIX,)) -> None:
    """Check that the run overwrites nothing that another run or the user has written.

    Args:
        folder: Output folder.
        names: Images whose heatmaps this run has not begun to write.
        fresh: Whether the run is not a resumed one, which has results of its own.
        suffixes: As of `split_by_name`.

    Raises:
        WouldOverwrite: A file exists.
    """
    written = [folder / f"{name}{suffix}" for name in names for suffix in suffixes]
    targets = written + ([folder / RESULTS] if fresh else [])
    taken = [target for target in targets if os.path.lexists(target) and not target.is_dir()]
    if taken:
        count = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise WouldOverwrite(f"{shown(taken[0])}{count} exist: name another --out, or --force to overwrite them")


def _name_fault(name: str, suffixes: Sequence[str]) -> tuple[str, str] | None:
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    try:
        parts = [part.encode() for part in (name + max(suffixes, key=len)).split("/")]
    except UnicodeEncodeError:
        return BAD_NAME, "its name is not UTF-8: rename it"
    # A bucket key is any text, and Windows has further ways to leave a folder.
    leaves = ".." in (*posix.parts, *windows.parts) or windows.drive or windows.root
    if leaves or str(posix) != name or "\0" in name:
        return BAD_NAME, "its name is not a path within a folder: rename it"
    if max(map(len, parts)) > MAX_NAME_BYTES:
        return BAD_NAME, f"the name of its heatmap would be over {MAX_NAME_BYTES} bytes: rename it"
    return None


def _size_fault(size: int) -> tuple[str, str] | None:
    return None if size else (EmptyFile.code, "the file is empty")


def _folded(name: str, *, one_case: bool) -> str:
    """Normalize a name for a file system that ignores case."""
    return unicodedata.normalize("NFC", name).casefold() if one_case else name
