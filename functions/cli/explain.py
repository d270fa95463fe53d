"""Image bytes -> answer through the core, without HTTP."""

from pathlib import Path
from typing import cast, get_args

from functions.cli.files import Answer
from heatlens.errors import HeatlensError, InvalidOption
from heatlens.model import load_by_settings
from heatlens.pipeline import explain
from heatlens.settings import read_settings
from heatlens.types import Colormap, Options, Upload


class CoreExplainer:
    """The model, loaded once, and the options of all files."""

    def __init__(self, model_dir: Path | None, *, colormap: str, alpha: float) -> None:
        """Load the model.

        Raises:
            HeatlensError: The model or an option cannot be used.
        """
        self._options = _options(colormap, alpha)
        self._settings = read_settings()
        self._model = load_by_settings(self._settings, model_dir)

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


def _options(colormap: str, alpha: float) -> Options:
    known = get_args(Colormap)
    if colormap not in known:
        raise InvalidOption(f"unknown colormap {colormap!r}: one of {', '.join(known)}", [])
    if not 0.1 <= alpha <= 0.9:
        raise InvalidOption(f"alpha is {alpha}: it must lie between 0.1 and 0.9", [])
    return Options(cast(Colormap, colormap), alpha, frozenset({"overlay"}))
