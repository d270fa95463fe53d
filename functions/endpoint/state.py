"""What the running endpoint holds: the API's state, its admission control, and the backend that explains."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from heatlens.errors import ModelError, ModelUnavailable
from heatlens.results import Outcome
from heatlens.types import Options, Upload
from heatlens_web.admission import Admission
from heatlens_web.dynamic_batching import Bounds, DynamicBatcher
from heatlens_web.engine_health import EngineHealth
from heatlens_web.settings import ServerSettings
from heatlens_web.state import State, load_state


@dataclass(frozen=True, slots=True)
class InferenceBackend:
    """The batcher that explains images, and the health of the engine under it."""

    batcher: DynamicBatcher
    health: EngineHealth


@dataclass(frozen=True, slots=True)
class ServerState:
    """Immutable after start; `backend` is the reason why there is none if no model could be loaded."""

    state: State
    admission: Admission
    backend: InferenceBackend | ModelError

    def ready(self) -> InferenceBackend:
        """Return the backend that answers a request.

        Raises:
            Stopping: The server is shutting down.
            ModelUnavailable: There is no model. The endpoint has no health route, so the error gives the reason.
        """
        self.admission.check()
        if isinstance(self.backend, ModelError):
            raise ModelUnavailable(f"the model is not loaded: {self.backend.detail}")
        return self.backend


def load_server(settings: ServerSettings) -> ServerState:
    """Load the model; the server starts without one too, and its responses give the reason."""
    loaded = load_state(settings, "server")
    # A request has one image: the limit of one body elsewhere is that of all bodies together here.
    limits = loaded.limits.model_copy(update={"body_bytes": loaded.limits.image_body_bytes})
    state = replace(loaded, limits=limits)
    admission = Admission(most=settings.in_flight, most_bytes=loaded.limits.body_bytes)
    if isinstance(state.loaded, ModelError):
        return ServerState(state, admission, state.loaded)
    return ServerState(state, admission, _backend(state, admission))


def _backend(state: State, admission: Admission) -> InferenceBackend:
    settings, limits, health = state.settings, state.limits, EngineHealth()

    def explain(uploads: Sequence[Upload], options: Options) -> Sequence[Outcome]:
        outcomes = state.explain(uploads, options)
        health.record(state.models[options.model], outcomes)
        return outcomes

    bounds = Bounds(
        images=settings.batch_images,
        # Together they take no more memory than the largest single image may.
        pixels=min(limits.image_pixels, limits.request_pixels),
        batches=settings.concurrency,
        window_s=settings.gather_ms / 1000,
    )
    return InferenceBackend(
        DynamicBatcher(explain, state.workers, bounds, in_flight=lambda: admission.in_flight), health
    )
