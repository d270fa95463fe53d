"""Tell a broken engine from an image that cannot be explained."""

import logging
from collections.abc import Iterable

from heatlens.errors import EngineError, GenerationFailed, ModelUnavailable
from heatlens.model import Model, try_out
from heatlens.results import Explanation, Outcome

logger = logging.getLogger(__name__)


class EngineHealth:
    """Health of the engines: an engine that failed at an image is tried with a black image, as at start.

    If that fails too, the engine is unhealthy until it explains an image again.
    """

    def __init__(self) -> None:
        self._broken: dict[str, EngineError] = {}

    def record(self, model: Model, outcomes: Iterable[Outcome]) -> None:
        """Record the outcomes of a model's images."""
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
        """Check that every engine is healthy.

        Raises:
            ModelUnavailable: One is not.
        """
        if self._broken:
            raise ModelUnavailable("the engine is broken: it fails even at the image that it was started with")
