"""Settings -> the models of a door by name, each loaded or with the reason why it is not.

A model is called what its folder is called: a card's name does not tell two versions of one model apart.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from heatlens.engines.resources import Machine
from heatlens.errors import InvalidOption, Mistake, ModelError, ModelUnavailable, SettingsError
from heatlens.model import Model, load_by_settings
from heatlens.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelRegistry:
    """All of them, the default one first."""

    found: Mapping[str, Model | ModelError]

    @classmethod
    def of(cls, model: Model | ModelError, name: str = "default") -> Self:
        """One alone."""
        return cls({name: model})

    @property
    def default(self) -> str:
        """Name of the one that answers who names none."""
        return next(iter(self.found))

    def __getitem__(self, name: str | None) -> Model:
        """A model that answers, by default the default one.

        Raises:
            InvalidOption: There is none of this name.
            ModelUnavailable: It could not be loaded.
        """
        name = self.default if name is None else name
        if name not in self.found:
            message = f"no model {name[:80]!r} here: {', '.join(self.found)}"
            raise InvalidOption(Mistake("model", message, "unknown_model"))
        model = self.found[name]
        if isinstance(model, ModelError):
            which = "the model" if name == self.default else f"the model {name!r}"
            raise ModelUnavailable(f"{which} is not loaded: see /api/inference/health")
        return model

    @property
    def loaded(self) -> dict[str, Model]:
        """Those that answer."""
        return {name: model for name, model in self.found.items() if isinstance(model, Model)}

    @property
    def failures(self) -> dict[str, ModelError]:
        """Those that do not, and why."""
        return {name: error for name, error in self.found.items() if isinstance(error, ModelError)}

    def log_failures(self) -> None:
        """Log each model that is not loaded, with the cause; alarms filter the log by the first words."""
        for name, error in self.failures.items():
            logger.error("the model is not loaded: %s: %s (cause: %r)", name, error, error.__cause__)


def load_models(settings: Settings, *, machine: Machine | None = None) -> ModelRegistry:
    """Load them now, so that no request waits for it; one that cannot be loaded takes no other with it.

    Those that come later must fit the memory beside those that are loaded.

    Raises:
        SettingsError: The folder of models is none, or two models would have one name.
    """
    found: dict[str, Model | ModelError] = {}
    for name, folder in _folders(settings).items():
        taken = sum(model.file_bytes for model in found.values() if isinstance(model, Model))
        try:
            found[name] = load_by_settings(settings, folder, machine=machine, beside=taken)
        except ModelError as error:
            found[name] = error
    return ModelRegistry(found)


def _folders(settings: Settings) -> dict[str, Path]:
    """Folder of each model by its name, the default one first."""
    if settings.models_dir is None:
        return {_name(settings.model_dir): settings.model_dir}
    folders = {folder.name: folder for folder in _within(settings.models_dir)}
    if "model_dir" not in settings.model_fields_set and folders:
        return folders
    default = settings.model_dir
    name = _name(default)
    if name in folders and folders[name].resolve() != default.resolve():
        raise SettingsError(f"HEATLENS_MODELS_DIR: the default model is called {name!r} too, and is another folder")
    return {name: default} | {other: folder for other, folder in folders.items() if other != name}


def _name(folder: Path) -> str:
    return folder.name or folder.resolve().name


def _within(folder: Path) -> Iterator[Path]:
    """Folders in the order of their names; those that begin with a dot are the business of whoever mounts."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SettingsError(f"HEATLENS_MODELS_DIR: no folder {folder.name!r} that can be read") from error
    return (entry for entry in entries if entry.is_dir() and not entry.name.startswith("."))
