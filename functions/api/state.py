"""What a running door holds: settings, limits, and the model or the reason why there is none."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from heatlens.errors import HeatlensError, ModelError, ModelUnavailable
from heatlens.model import Model, load_by_settings
from heatlens.pipeline import Outcome, explain
from heatlens.settings import Door, Limits, Settings
from heatlens.types import Options, Upload

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class State:
    """Immutable after start, shared by all requests."""

    settings: Settings
    limits: Limits
    loaded: Model | ModelError
    # Not the framework's pool: forty images decoded at once would exhaust the memory.
    workers: ThreadPoolExecutor

    def model(self) -> Model:
        """The loaded model.

        Raises:
            ModelUnavailable: It could not be loaded.
        """
        if isinstance(self.loaded, ModelError):
            raise ModelUnavailable("the model is not loaded: see /api/inference/health")
        return self.loaded

    def explain(self, uploads: Sequence[Upload | HeatlensError], options: Options) -> list[Outcome]:
        """Explain images within the door's limits; it takes its time, on the calling thread."""
        settings = self.settings
        return explain(self.model(), uploads, options, limits=self.limits, batch_images=settings.batch_images)


def load_state(settings: Settings, door: Door) -> State:
    """Load the model now, so that no request waits for it; a door without one starts all the same and says why."""
    return State(settings, settings.limits(door), _load(settings), ThreadPoolExecutor(settings.concurrency, "explain"))


def _load(settings: Settings) -> Model | ModelError:
    try:
        return load_by_settings(settings)
    except ModelError as error:
        logger.error("the model is not loaded: %s (cause: %r)", error, error.__cause__)
        return error
