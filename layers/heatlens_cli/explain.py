"""Explain images with the core, without HTTP."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from heatlens.card import DRAFT
from heatlens.dicom_out import Kind, check_kinds
from heatlens.errors import HeatlensError, InvalidOption, Mistake
from heatlens.options import OptionArguments, read_options, unknown_name
from heatlens.pipeline import explain
from heatlens.plan import check_plan, make_plan
from heatlens.results import Explained, Explanation, Outcome, npy
from heatlens.types import SUFFIXES, Include, Upload
from heatlens_cli.console import shown
from heatlens_cli.file_explanation import ClassHeatmap, FileExplanation, warnings_of
from heatlens_cli.in_groups import IMAGES
from heatlens_cli.load import load

WRITTEN: tuple[Include, ...] = ("overlay", "heatmap", "map", "regions", "faithfulness")
FACTS: frozenset[Include] = frozenset({"regions", "faithfulness"})  # are numbers, and in one file


class CoreExplainer:
    """Explains images with one model and the same options.

    `several` says whether an image may have more than one heatmap, `suffixes` what is written of each; `file_bytes` is
    the largest file, `images` the most to explain together, and `card`, `sha256` and `notice` the model's own.
    """

    def __init__(
        self,
        model_dir: Path | None,
        options: OptionArguments,
        include: frozenset[Include],
        kinds: tuple[Kind, ...] = (),
    ) -> None:
        """Load the model.

        Args:
            model_dir: Its folder.
            options: The options.
            include: What is written of each heatmap.
            kinds: DICOM objects that are written of each heatmap too.

        Raises:
            HeatlensError: The model cannot be loaded, or does not have what the options name, or DICOM objects cannot
                be written.
        """
        self.options = replace(read_options(options, include), dicom=kinds)
        check_kinds(self.options)
        self._model, self._limits = load(model_dir)
        plan = make_plan(self._model, self.options)
        check_plan(plan, 1, self._limits)
        self.several = plan.request.several
        self.file_bytes = self._limits.file_bytes
        self.images = IMAGES if plan.passes == 1 else 1  # a slow method's results are written one by one
        self.card = self._model.card
        self.sha256 = self._model.sha256
        self.notice = self.card.notice
        suffixes = [suffix for name, suffix in self._suffixes.items() if name in include]
        self.suffixes = tuple(dict.fromkeys([*suffixes, *map(_dicom_suffix, kinds)]))

    @property
    def _suffixes(self) -> dict[str, str]:
        picture = SUFFIXES[self.options.format]
        return {"overlay": picture, "heatmap": f".map{picture}", "map": ".npy", **dict.fromkeys(FACTS, ".json")}

    def __call__(self, uploads: Sequence[Upload]) -> list[FileExplanation | HeatlensError]:
        """Explain images; one that cannot be explained is its error."""
        outcomes = explain(self._model, uploads, self.options, limits=self._limits, batch_images=len(uploads))
        return [self._file(each) for each in outcomes]

    def _file(self, outcome: Outcome) -> FileExplanation | HeatlensError:
        if isinstance(outcome, HeatlensError):
            return outcome
        prediction, familiarity = outcome.prediction, outcome.familiarity
        qualities = {explained.label: explained.quality for explained in outcome.explained}
        return FileExplanation(
            prediction.label,
            prediction.probability,
            tuple(self._heatmap(outcome, place) for place in range(len(outcome.explained))),
            outcome.notes,
            [
                *([DRAFT] if self._model.card.draft else []),
                *warnings_of(qualities, unfamiliar=familiarity is not None and familiarity.unfamiliar),
            ],
            outcome.to_dict(),
        )

    def _heatmap(self, explanation: Explanation, place: int) -> ClassHeatmap:
        explained = explanation.explained[place]
        members = explained.members
        indices = tuple(member.index for member in members) if members else (explained.index or 0,)
        files: dict[str, bytes] = {}
        for name, suffix in self._suffixes.items():
            if name not in self.options.include:
                continue
            if name == "map":
                files[suffix] = npy(explained.signed_map)
            elif name in FACTS:
                files[suffix] = _facts(explanation, explained)
            elif picture := explained.overlay if name == "overlay" else explained.map_image:
                files[suffix] = picture.data
        files |= {_dicom_suffix(each.kind): each.data for each in explanation.dicom if each.place == place}
        return ClassHeatmap(explained.label, indices, explained.probability, explained.quality, files)


def read_include(text: str, *, pictures_for: Path | None = None) -> frozenset[Include]:
    """Read what is to be written, separated by commas.

    Args:
        text: The option.
        pictures_for: A file that shows the overlays.

    Raises:
        InvalidOption: There is nothing of such a name, or nothing is named, or the overlay is left out and needed.
    """
    names = [name.strip() for name in text.split(",")]
    if wrong := [name for name in names if name not in WRITTEN]:
        raise InvalidOption(*(unknown_name(name, WRITTEN) for name in wrong))
    if pictures_for and "overlay" not in names:
        raise InvalidOption(Mistake("include", f"{pictures_for} shows overlays: add overlay to --include", "missing"))
    return frozenset(names)  # type: ignore[arg-type]  # checked


def check_report_names(sheet: Path | None, report: Path | None) -> None:
    """Check the names of the files about a whole run.

    Raises:
        InvalidOption: A name does not say what is written.
    """
    if sheet and sheet.suffix.lower() != ".png":
        raise InvalidOption(Mistake("sheet", f"a contact sheet is a PNG: name it {shown(sheet)}.png", "suffix"))
    if report and report.suffix.lower() not in (".html", ".htm"):
        raise InvalidOption(Mistake("report", f"a report is HTML: name it {shown(report)}.html", "suffix"))


def _dicom_suffix(kind: Kind) -> str:
    return f".{kind}.dcm"


def _facts(explanation: Explanation, explained: Explained) -> bytes:
    """Write the facts of an image and one of its targets as JSON."""
    return json.dumps(replace(explanation, explained=(explained,)).to_dict(), indent=1).encode()
