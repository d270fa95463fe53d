"""What became of images -> whether the engine still does what it did at its start."""

import logging
from collections.abc import Iterable

from heatlens.errors import EngineError, GenerationFailed, ModelUnavailable
from heatlens.model import Model, try_out
from heatlens.results import Explanation, Outcome

logger = logging.getLogger(__name__)


class EngineHealth:
    """Feels the engines' pulse: after an image that could not be explained one is given the black one of its start.

    If it fails at that too, no image is to blame; it is taken for broken until it explains one again.
    """

    def __init__(self) -> None:
        self._broken: dict[str, EngineError] = {}

    def feel(self, model: Model, outcomes: Iterable[Outcome]) -> None:
        """Learn from what became of a model's images."""
        seen = list(outcomes)
        if any(isinstance(outcome, Explanation) for outcome in seen):
            self._broken.pop(model.sha256, None)
        elif any(isinstance(outcome, GenerationFailed) for outcome in seen):
            try:
                try_out(model.engine, model.card)
            except EngineError as error:
                logger.error("the engine is broken (cause: %r)", error.__cause__)
                self._broken[model.sha256] = error

    def check(self) -> None:
        """Say whether it beats.

        Raises:
            ModelUnavailable: It does not.
        """
        if self._broken:
            raise ModelUnavailable("the engine is broken: it fails even at the image that it was started with")
