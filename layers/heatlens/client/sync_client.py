"""The client of the HTTP API for programs without an event loop."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx2
from tenacity import Retrying

from heatlens.client import batch_calls, batch_steps, calls
from heatlens.client.batch_files import Files, named_files
from heatlens.client.batch_steps import Declared, Notify
from heatlens.client.connection import CHUNK, TIMEOUT_S, Authorization, Connection
from heatlens.client.errors import ApiError, NoConnection
from heatlens.client.exchange import Action, Call, Pause, Step, Together
from heatlens.client.images import BatchOptions, RequestOptions, batch_options
from heatlens.client.results import HeatmapResult, PredictResult
from heatlens.client.retries import TRIES
from heatlens.client.sync_batch import StagedBatch, ignore
from heatlens.errors import HeatlensError
from heatlens.image_source import ImageSource

T = TypeVar("T")


class Client:
    """Calls one Heatlens server. Safe to share between threads; close it, or use it in a `with` statement.

    Example:
        >>> from heatlens.client import Client
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     result = client.heatmap("scan.png", target="OPACITY")
        ...     result.overlay.save("heatmap.png")
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        token: str | None = None,
        auth: Authorization = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        tries: int = TRIES,
    ) -> None:
        """Prepare to call a server; nothing is sent yet.

        Args:
            url: Address of the server; by default `HEATLENS_URL`, else `http://127.0.0.1:8000`.
            api_key: Sent as `x-api-key`.
            token: Sent as `Authorization: Bearer`.
            auth: `"iam"` signs with this machine's AWS credentials; or an `IamAuth`, or any `Auth` of httpx.
            headers: Further headers of every call; storages and other hosts do not get them.
            timeout_s: Seconds without sending or receiving a byte.
            tries: How often a request is sent at most while its failure may be temporary.

        Raises:
            InvalidUrl: The address is not a URL.
            CannotSign: `auth` is `"iam"`, and botocore, the credentials or the region are missing.
        """
        self._connection = Connection.of(
            url, api_key=api_key, token=token, auth=auth, headers=headers, timeout_s=timeout_s, tries=tries
        )
        self._server = httpx2.Client(**self._connection.arguments(bare=False))
        self._storage = httpx2.Client(**self._connection.arguments(bare=True))

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._connection.url

    def heatmap(self, image: ImageSource, **options: Unpack[RequestOptions]) -> HeatmapResult:
        """Explain one image.

        Args:
            image: The bytes of a file, a path, an open file, a Pillow image, a NumPy array or a tensor.
            **options: Those of `heatlens.Explainer.explain`, and `include` (by default `overlay` and `map`), `dicom`,
                `model`, `original` and `strip_original`.

        Raises:
            ApiError: The server refuses; its subclasses and `code` say why.
            NoConnection: The server does not answer, after several tries.
            UnexpectedAnswer: The answer is not that of a Heatlens server.
            HeatlensError: The image cannot be read, or an option has an invalid value.
            TypeError: The image is of another type, or an option has an unknown name.
        """
        return self.run(calls.heatmap(image, options))

    def heatmaps(
        self, images: Iterable[ImageSource], **options: Unpack[RequestOptions]
    ) -> list[HeatmapResult | ApiError]:
        """Explain several images in one request; in the list, an image that fails is its error.

        Arguments and errors are those of `heatmap`. `LimitExceeded` is raised if the server does not take as many:
        use a staged batch.
        """
        return self.run(calls.heatmaps(images, options))

    def predict(
        self, image: ImageSource, *, model: str | None = None, window: calls.Window = None, frame: int | None = None
    ) -> PredictResult:
        """Classify one image: the probability and logit of every class, without a heatmap."""
        return self.run(calls.predict(image, model, window, frame))

    def predict_all(
        self,
        images: Iterable[ImageSource],
        *,
        model: str | None = None,
        window: calls.Window = None,
        frame: int | None = None,
    ) -> list[PredictResult | ApiError]:
        """Classify several images in one request; in the list, an image that fails is its error."""
        return self.run(calls.predict_all(images, model, window, frame))

    def health(self) -> dict[str, Any]:
        """Return the server's health, as the API answers it."""
        return self.run(calls.get("/health"))

    def models(self) -> dict[str, Any]:
        """Return the cards of the server's models and the limits of staged batches, as the API answers them."""
        return self.run(calls.get("/models"))

    def create_batch(
        self, files: Files, *, on_progress: Notify = ignore, **options: Unpack[BatchOptions]
    ) -> StagedBatch:
        """Create a staged batch and declare its files; `StagedBatch.upload` is next.

        Args:
            files: Paths, which are named as their files; or a mapping of names, such as `ward/scan.png`, to paths or
                bytes.
            on_progress: Called with the `Progress` of reading the files; calls never overlap.
            **options: Those of `heatmap`, without `original` and `strip_original`.

        Raises:
            ApiError: The server refuses.
            ValueError: Two files have the same name.
            OSError: A file cannot be read.
        """
        return StagedBatch(self, self.run(batch_steps.begin(named_files(files), batch_options(options), on_progress)))

    def open_batch(self, batch_id: str, files: Files = (), *, on_progress: Notify = ignore) -> StagedBatch:
        """Continue a staged batch, such as one whose process was interrupted.

        Args:
            batch_id: `StagedBatch.id`.
            files: As for `create_batch`, to upload what the server lacks; without them it can be followed.
            on_progress: As for `create_batch`.

        Raises:
            NotFound: There is no such batch, or it belongs to another principal.
        """
        if not files:
            self.run(batch_calls.status(batch_id))
            return StagedBatch(self, Declared(batch_id, {}))
        return StagedBatch(self, self.run(batch_steps.resume(batch_id, named_files(files), on_progress)))

    def run(self, call: Call[T], *, wait: Callable[[float], object] = time.sleep) -> T:
        """Do what a call yields, and return its result; `wait` waits for so many seconds."""
        try:
            action = next(call)
            while True:
                try:
                    reply = self._do(action, wait)
                except (HeatlensError, OSError) as error:
                    action = call.throw(error)
                else:
                    action = call.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result

    def close(self) -> None:
        """Close the connections."""
        self._server.close()
        self._storage.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def _do(self, action: Action, wait: Callable[[float], object]) -> Any:  # noqa: ANN401 - what the call expects
        if isinstance(action, Together):
            return self._together(action)
        if isinstance(action, Step):
            return self._send(action, wait)
        return wait(action.seconds) if isinstance(action, Pause) else action.do()

    def _together(self, action: Together) -> list[Any]:
        """Make calls in threads; an error or an interruption ends their pauses and cancels those that wait."""
        stop = threading.Event()

        def wait(seconds: float) -> None:
            if stop.wait(seconds):
                raise NoConnection("the other calls have ended with an error")

        with ThreadPoolExecutor(action.at_once) as executor:
            try:
                return list(executor.map(lambda call: self.run(call, wait=wait), action.calls))
            except BaseException:
                stop.set()
                executor.shutdown(cancel_futures=True)
                raise

    def _send(self, step: Step, wait: Callable[[float], object]) -> httpx2.Response:
        http = self._storage if step.bare else self._server

        def sleep(seconds: float) -> None:
            wait(seconds)

        def send() -> httpx2.Response:
            response = http.send(
                self._connection.build(http, step, step.chunks() if step.chunks else None), stream=True
            )
            try:
                return _received(response, step)
            finally:
                response.close()

        try:
            return Retrying(**self._connection.rules(step), sleep=sleep)(send)
        except httpx2.RequestError as error:
            raise self._connection.broken(error, step) from error


def _received(response: httpx2.Response, step: Step) -> httpx2.Response:
    """Read the body of a response, into the step's sink if it is a success's."""
    if step.sink is None or not response.is_success:
        response.read()
        return response
    step.sink.seek(0)
    step.sink.truncate()
    for chunk in response.iter_bytes(CHUNK):
        step.sink.write(chunk)
    return response
