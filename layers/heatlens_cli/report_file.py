"""Write a file about a whole run: it replaces neither an image nor a heatmap of that run."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from heatlens_cli.atomic_file import identity_of, write_atomically
from heatlens_cli.console import shown
from heatlens_cli.explain_files import NotWritten, WouldOverwrite


@dataclass(slots=True)
class ReportFile:
    """A file that an option names, with others of similar names; `force` replaces those of earlier runs."""

    path: Path
    option: str
    force: bool = False
    _kept: set[tuple[int, int]] = field(default_factory=set)

    def begin(self, images: Iterable[Path], others: Iterable[Path] = ()) -> None:
        """Check before a run that the file and the others can be written, and keep the images.

        Raises:
            WouldOverwrite: A file exists and may not be replaced.
            NotWritten: The folder cannot be made or written to.
        """
        self.keep(images)
        for path in (self.path, *others):
            self._check(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotWritten(f"{shown(self.path)} cannot be written: {error.strerror}") from error
        if not os.access(self.path.parent, os.W_OK):
            raise NotWritten(f"{shown(self.path)} cannot be written: its folder is read-only")

    def keep(self, paths: Iterable[Path]) -> None:
        """Never replace these files."""
        self._kept |= {identity for path in paths if (identity := identity_of(path))}

    def write(self, content: bytes, path: Path | None = None) -> None:
        """Write the file, or another of a similar name.

        Raises:
            WouldOverwrite: It exists and may not be replaced.
            NotWritten: It cannot be written.
        """
        target = path or self.path
        self._check(target)
        try:
            with write_atomically(target, overwrite=self.force) as file:
                file.write(content)
        except OSError as error:
            raise NotWritten(f"{shown(target)} cannot be written: {error.strerror}") from error

    def _check(self, path: Path) -> None:
        if not os.path.lexists(path):
            return
        if identity_of(path) in self._kept:
            raise WouldOverwrite(
                f"{shown(path)} is a file of this run, which is not overwritten: choose another {self.option}"
            )
        if not self.force:
            raise WouldOverwrite(f"{shown(path)} exists: choose another {self.option}, or --force to overwrite it")
