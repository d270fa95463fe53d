"""What a running server holds: settings, limits, and its models or the reasons why they are not loaded."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from heatlens.batching import TimeLeft
from heatlens.errors import HeatlensError, ModelError
from heatlens.input.decode import decode
from heatlens.model import Model
from heatlens.pipeline import explain, score_all
from heatlens.registry import ModelRegistry, load_models
from heatlens.results import Outcome
from heatlens.types import Options, Scores, Upload
from heatlens_web.decode_pool import DecodePool
from heatlens_web.settings import DEPLOYMENT_LIMITS, Deployment, ServerLimits, ServerSettings


@dataclass(frozen=True, slots=True)
class State:
    """Immutable after start, shared by all requests."""

    settings: ServerSettings
    limits: ServerLimits
    models: ModelRegistry
    # Not the framework's pool of forty threads: as many decoded images would exhaust the memory.
    workers: ThreadPoolExecutor
    # On Lambda there is none: a function works on one request at a time.
    decoders: DecodePool | None = None

    @property
    def loaded(self) -> Model | ModelError:
        """The default model, or why it is not loaded."""
        return self.models.by_name[self.models.default]

    def start(self) -> None:
        """Start the processes that decode images, so that the first image does not wait for them."""
        if self.decoders:
            self.decoders.start()

    def check(self) -> None:
        """Check, before a body is read, that a model is loaded.

        Raises:
            ModelUnavailable: No model is loaded.
        """
        if not self.models.loaded:
            self.models[None]

    def explain(
        self,
        uploads: Sequence[Upload | HeatlensError],
        options: Options,
        time_left: TimeLeft | None = None,
        *,
        share: int = 0,
    ) -> list[Outcome]:
        """Explain images within the server's limits. Blocks the calling thread.

        Args:
            uploads: All images of a request, or some of them.
            options: The options of all of them.
            time_left: As of `pipeline.explain`.
            share: Images of the request, with which these share its time for faithfulness, where it has more.
        """
        part = len(uploads) / max(1, share, len(uploads))
        return explain(
            self.models[options.model],
            uploads,
            options,
            limits=self.limits.model_copy(update={"faithfulness_s": self.limits.faithfulness_s * part}),
            batch_images=self.settings.batch_images,
            time_left=time_left,
            decode=self.decoders.decode if self.decoders else decode,
        )

    def score(
        self, uploads: Sequence[Upload | HeatlensError], options: Options, time_left: TimeLeft | None = None
    ) -> list[Scores | HeatlensError]:
        """Classify images within the server's limits. Blocks the calling thread."""
        return score_all(
            self.models[options.model],
            uploads,
            options,
            limits=self.limits,
            batch_images=self.settings.batch_images,
            time_left=time_left,
            decode=self.decoders.decode if self.decoders else decode,
        )


def load_state(settings: ServerSettings, deployment: Deployment, loading: Future[ModelRegistry] | None = None) -> State:
    """Load the models, or wait until they are loaded; the server starts without one too, and health gives the reason.

    Raises:
        SettingsError: The folder of models is unusable.
    """
    models = loading.result() if loading else load_models(settings)
    models.log_failures()
    limits = settings.limits(DEPLOYMENT_LIMITS[deployment])
    decoders = DecodePool(processes=settings.concurrency, deadline_s=settings.decode_s)
    workers = ThreadPoolExecutor(settings.concurrency, "explain")
    return State(settings, limits, models, workers, decoders if deployment == "server" else None)
