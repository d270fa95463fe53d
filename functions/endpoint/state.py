"""Settings -> what the running door keeps: the API's state, who may come in, and with a model what explains."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from heatlens.errors import ModelError, ModelUnavailable
from heatlens.results import Outcome
from heatlens.settings import MIB
from heatlens.types import Options, Upload
from heatlens_web.admission import Admission
from heatlens_web.dynamic_batching import Bounds, DynamicBatcher
from heatlens_web.engine_health import EngineHealth
from heatlens_web.settings import ServerLimits, ServerSettings
from heatlens_web.state import State, load_state


@dataclass(frozen=True, slots=True)
class InferenceBackend:
    """Where images are explained: the gatherer hands the engine its batches, and the pulse tells how it does."""

    gatherer: DynamicBatcher
    pulse: EngineHealth


@dataclass(frozen=True, slots=True)
class ServerState:
    """All of it; `bench` is the reason why there is none where no model could be loaded."""

    state: State
    admission: Admission
    bench: InferenceBackend | ModelError

    def ready(self) -> InferenceBackend:
        """Give what answers a request.

        Raises:
            Stopping: The process was told to end.
            ModelUnavailable: There is no model. Nothing but this door can be reached from outside, so it says why.
        """
        self.admission.check()
        if isinstance(self.bench, ModelError):
            raise ModelUnavailable(f"the model is not loaded: {self.bench.detail}")
        return self.bench


def open_door(settings: ServerSettings) -> ServerState:
    """Load the model; without one the door opens all the same."""
    loaded = load_state(settings, "server")
    state = replace(loaded, limits=_of_one(loaded.limits))
    admission = Admission(most=settings.in_flight, most_bytes=loaded.limits.body_bytes)
    if isinstance(state.loaded, ModelError):
        return ServerState(state, admission, state.loaded)
    return ServerState(state, admission, _bench(state, admission))


def _of_one(limits: ServerLimits) -> ServerLimits:
    """A request has one image here: what a body may have elsewhere, all bodies together may have here."""
    as_base64 = (limits.file_bytes + 2) // 3 * 4 + MIB  # beside it in the JSON: options and a name
    return limits.model_copy(update={"body_bytes": min(limits.body_bytes, as_base64)})


def _bench(state: State, admission: Admission) -> InferenceBackend:
    settings, limits, pulse = state.settings, state.limits, EngineHealth()

    def explain(uploads: Sequence[Upload], options: Options) -> Sequence[Outcome]:
        outcomes = state.explain(uploads, options)
        pulse.feel(state.models[options.model], outcomes)
        return outcomes

    bounds = Bounds(
        images=settings.batch_images,
        # Together they take no more memory than one may that is alone.
        pixels=min(limits.image_pixels, limits.request_pixels),
        batches=settings.concurrency,
        window_s=settings.gather_ms / 1000,
    )
    return InferenceBackend(DynamicBatcher(explain, state.workers, bounds, inside=lambda: admission.inside), pulse)
