"""Image bytes -> answer through the core, without HTTP."""

from pathlib import Path

from functions.cli.files import Answer
from heatlens.errors import HeatlensError
from heatlens.model import load_model
from heatlens.pipeline import explain
from heatlens.settings import read_settings
from heatlens.types import Options, Upload


class CoreExplainer:
    """The model, loaded once, and the options of all files."""

    def __init__(self, model_dir: Path | None, options: Options) -> None:
        """Load the model.

        Raises:
            HeatlensError: It cannot be used.
        """
        self._options = options
        self._settings = read_settings()
        self._model = load_model(model_dir or self._settings.model_dir, threads=self._settings.threads)

    def __call__(self, name: str, data: bytes) -> Answer:
        """Explain one image.

        Raises:
            HeatlensError: It cannot be.
        """
        limits = self._settings.limits("server")
        [outcome] = explain(self._model, [Upload(name, data)], self._options, limits=limits, batch_images=1)
        if isinstance(outcome, HeatlensError):
            raise outcome
        assert outcome.overlay is not None, "included by the options"
        return Answer(outcome.prediction.label, outcome.prediction.probability, outcome.overlay.data)
