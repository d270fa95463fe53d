"""What became of images -> whether the engine still does what it did at its start."""

import logging
from collections.abc import Iterable

from heatlens.errors import EngineError, GenerationFailed, ModelUnavailable
from heatlens.model import Model, try_out
from heatlens.pipeline import Outcome
from heatlens.types import Explanation

logger = logging.getLogger(__name__)


class Pulse:
    """Feels an engine's pulse: after an image that could not be explained it is given the black one of its start.

    If it fails at that too, no image is to blame; it is taken for broken until it explains one again.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._broken: EngineError | None = None

    def feel(self, outcomes: Iterable[Outcome]) -> None:
        """Learn from what became of images."""
        seen = list(outcomes)
        if any(isinstance(outcome, Explanation) for outcome in seen):
            self._broken = None
        elif any(isinstance(outcome, GenerationFailed) for outcome in seen):
            try:
                try_out(self._model.engine, self._model.card)
            except EngineError as error:
                logger.error("the engine is broken (cause: %r)", error.__cause__)
                self._broken = error

    def check(self) -> None:
        """Say whether it beats.

        Raises:
            ModelUnavailable: It does not.
        """
        if self._broken:
            raise ModelUnavailable("the engine is broken: it fails even at the image that it was started with")
