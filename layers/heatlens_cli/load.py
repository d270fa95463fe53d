"""Load the model of a command; an error names its folder in full."""

from pathlib import Path

from heatlens.errors import HeatlensError, ModelError
from heatlens.model import Model, load_by_settings
from heatlens.settings import LIMITS, Limits, read_settings
from heatlens_cli.console import shown


class CannotLoad(HeatlensError):
    """The model folder cannot be used."""


def load(model_dir: Path | None) -> tuple[Model, Limits]:
    """Load a model folder, by default the settings', and return it with the limits of one image.

    Raises:
        CannotLoad: The folder cannot be used, or an engine.
        HeatlensError: A setting is invalid.
    """
    settings = read_settings()
    folder = model_dir or settings.model_dir
    try:
        return load_by_settings(settings, folder, drafts=True), settings.limits(LIMITS)
    except ModelError as error:
        raise CannotLoad(f"{shown(folder)}: {error}") from error
