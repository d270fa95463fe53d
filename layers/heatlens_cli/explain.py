"""Explain images with the core, without HTTP."""

from pathlib import Path

from heatlens.errors import HeatlensError
from heatlens.model import load_by_settings
from heatlens.options import OptionArguments, read_options
from heatlens.pipeline import explain
from heatlens.settings import LIMITS, read_settings
from heatlens.types import Upload
from heatlens_cli.explain_files import FileExplanation


class CoreExplainer:
    """Explains images with one model and the same options."""

    def __init__(self, model_dir: Path | None, options: OptionArguments) -> None:
        """Load the model.

        Raises:
            HeatlensError: The options are invalid, or the model cannot be loaded.
        """
        self.options = read_options(options, frozenset({"overlay"}))
        self._settings = read_settings()
        self._model = load_by_settings(self._settings, model_dir)

    def __call__(self, name: str, data: bytes) -> FileExplanation:
        """Explain one image.

        Raises:
            HeatlensError: The image cannot be explained.
        """
        limits = self._settings.limits(LIMITS)
        [outcome] = explain(self._model, [Upload(name, data)], self.options, limits=limits, batch_images=1)
        if isinstance(outcome, HeatlensError):
            raise outcome
        assert outcome.overlay is not None, "included by the options"
        first = outcome.explained[0]
        return FileExplanation(first.label, first.probability, outcome.overlay.data, outcome.notes)
