"""Explain images with the core, without HTTP."""

from pathlib import Path

from heatlens.card import DRAFT
from heatlens.errors import HeatlensError
from heatlens.model import load_by_settings
from heatlens.options import OptionArguments, read_options
from heatlens.pipeline import explain
from heatlens.plan import check_plan, make_plan
from heatlens.results import Explained
from heatlens.settings import LIMITS, read_settings
from heatlens.types import Upload
from heatlens_cli.explain_files import ClassHeatmap, FileExplanation, warnings_of


class CoreExplainer:
    """Explains images with one model and the same options.

    `several` says whether an image may have more than one heatmap; `file_bytes` is the largest file.
    """

    def __init__(self, model_dir: Path | None, options: OptionArguments) -> None:
        """Load the model.

        Raises:
            HeatlensError: The model cannot be loaded, or does not have what the options name.
        """
        self.options = read_options(options, frozenset({"overlay"}))
        settings = read_settings()
        self._limits = settings.limits(LIMITS)
        self._model = load_by_settings(settings, model_dir, drafts=True)
        plan = make_plan(self._model, self.options)
        check_plan(plan, 1, self._limits)
        self.several = plan.request.several
        self.file_bytes = self._limits.file_bytes

    def __call__(self, name: str, data: bytes) -> FileExplanation:
        """Explain one image.

        Raises:
            HeatlensError: The image cannot be explained.
        """
        [outcome] = explain(self._model, [Upload(name, data)], self.options, limits=self._limits, batch_images=1)
        if isinstance(outcome, HeatlensError):
            raise outcome
        prediction, familiarity = outcome.prediction, outcome.familiarity
        qualities = {explained.label: explained.quality for explained in outcome.explained}
        return FileExplanation(
            prediction.label,
            prediction.probability,
            tuple(map(_heatmap, outcome.explained)),
            outcome.notes,
            [
                *([DRAFT] if self._model.card.draft else []),
                *warnings_of(qualities, unfamiliar=familiarity is not None and familiarity.unfamiliar),
            ],
        )


def _heatmap(explained: Explained) -> ClassHeatmap:
    assert explained.overlay is not None, "included by the options"
    members = explained.members
    indices = tuple(member.index for member in members) if members else (explained.index or 0,)
    return ClassHeatmap(explained.label, indices, explained.probability, explained.overlay.data)
