"""Load the models that the settings name, each by the name of its folder.

A card's name would be the same for two versions of one model.
"""

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
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
    """The models by name, the default first: each loaded, or the error that says why not."""

    by_name: Mapping[str, Model | ModelError]

    @classmethod
    def of(cls, model: Model | ModelError, name: str = "default") -> Self:
        """Make the registry of a single model."""
        return cls({name: model})

    @property
    def default(self) -> str:
        """The name of the model for requests that name none."""
        return next(iter(self.by_name))

    def __getitem__(self, name: str | None) -> Model:
        """Return a loaded model, by default the default one.

        Raises:
            InvalidOption: There is no model of this name.
            ModelUnavailable: It is not loaded.
        """
        name = self.default if name is None else name
        if name not in self.by_name:
            message = f"no model {name[:80]!r} here: {', '.join(self.by_name)}"
            raise InvalidOption(Mistake("model", message, "unknown_model"))
        model = self.by_name[name]
        if isinstance(model, ModelError):
            which = "the model" if name == self.default else f"the model {name!r}"
            raise ModelUnavailable(f"{which} is not loaded: see /api/inference/health")
        return model

    @property
    def loaded(self) -> dict[str, Model]:
        """The models that are loaded."""
        return {name: model for name, model in self.by_name.items() if isinstance(model, Model)}

    @property
    def failures(self) -> dict[str, ModelError]:
        """Why the others are not loaded."""
        return {name: error for name, error in self.by_name.items() if isinstance(error, ModelError)}

    def log_failures(self) -> None:
        """Log each model that is not loaded, with the cause; alarms filter the log by the first words."""
        for name, error in self.failures.items():
            logger.error("the model is not loaded: %s: %s (cause: %r)", name, error, error.__cause__)


def load_models(settings: Settings, *, machine: Machine | None = None) -> ModelRegistry:
    """Load all models; one that cannot be loaded does not affect the others.

    Each must fit the memory beside those that are loaded before it.

    Raises:
        SettingsError: The folder of models cannot be read, or two models would have the same name.
    """
    by_name: dict[str, Model | ModelError] = {}
    for name, folder in _folders(settings).items():
        taken = sum(model.file_bytes for model in by_name.values() if isinstance(model, Model))
        try:
            by_name[name] = load_by_settings(settings, folder, machine=machine, beside=taken)
        except ModelError as error:
            by_name[name] = error
    return ModelRegistry(by_name)


@contextmanager
def loading(settings: Settings) -> Iterator[Future[ModelRegistry]]:
    """Load all models in a thread while the block imports and connects; its end waits for them.

    Hashing, compiling and running graphs holds Python's lock for little of its time, and importing libraries for all
    of it: on two processors one hides behind the other. The future's result, and its errors, are `load_models`'s.
    """
    with ThreadPoolExecutor(1, "load") as pool:
        yield pool.submit(load_models, settings)


def _folders(settings: Settings) -> dict[str, Path]:
    """List each model's folder by its name, the default first."""
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
    """Yield the folders in the order of their names, without those that begin with a dot (mounts create such)."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SettingsError(f"HEATLENS_MODELS_DIR: no folder {folder.name!r} that can be read") from error
    return (entry for entry in entries if entry.is_dir() and not entry.name.startswith("."))
