import pytest

from heatlens.errors import EngineError, GenerationFailed, ModelUnavailable, UnreadableImage
from heatlens.model import Model
from heatlens.results import Explanation, Outcome
from heatlens_web.engine_health import EngineHealth

EXPLAINED: Outcome = object.__new__(Explanation)
FAILED: Outcome = GenerationFailed("the map could not be made")
REFUSED: Outcome = UnreadableImage("no image")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the trial of the engine fail."""

    def fail(*_: object) -> None:
        raise EngineError("the graphs do not run")

    monkeypatch.setattr("heatlens_web.engine_health.try_out", fail)


def test_an_image_that_fails_on_a_working_engine_leaves_it_healthy(tiny_model: Model) -> None:
    health = EngineHealth()

    health.record(tiny_model, [FAILED])

    health.check()


@pytest.mark.usefixtures("broken")
def test_an_engine_that_fails_its_trial_is_unhealthy_until_it_explains_an_image(tiny_model: Model) -> None:
    health = EngineHealth()

    health.record(tiny_model, [FAILED])
    with pytest.raises(ModelUnavailable, match="the engine is broken"):
        health.check()

    health.record(tiny_model, [FAILED, EXPLAINED])
    health.check()


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("outcomes", [[REFUSED], [EXPLAINED, FAILED], []])
def test_the_engine_is_tried_only_if_an_image_failed_and_none_was_explained(
    tiny_model: Model, outcomes: list[Outcome]
) -> None:
    health = EngineHealth()

    health.record(tiny_model, outcomes)

    health.check()
