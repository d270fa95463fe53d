"""The client of the HTTP API for programs with an event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx2
from tenacity import AsyncRetrying

from heatlens.client import batch_calls, batch_steps, calls
from heatlens.client.async_batch import AsyncStagedBatch
from heatlens.client.batch_files import Files, named_files
from heatlens.client.batch_steps import Declared, Notify
from heatlens.client.connection import CHUNK, TIMEOUT_S, Authorization, Connection
from heatlens.client.errors import ApiError
from heatlens.client.exchange import Action, Call, Pause, Step, Together
from heatlens.client.images import BatchOptions, RequestOptions, batch_options
from heatlens.client.results import HeatmapResult, PredictResult
from heatlens.client.retries import TRIES
from heatlens.client.sync_batch import ignore
from heatlens.errors import HeatlensError
from heatlens.image_source import ImageSource

T = TypeVar("T")


class AsyncClient:
    """Calls one Heatlens server; as `Client`, with methods to await. Close it, or use it in `async with`.

    Example:
        >>> from heatlens.client import AsyncClient
        >>> async with AsyncClient("http://127.0.0.1:8000") as client:
        ...     result = await client.heatmap("scan.png")
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
        """Prepare to call a server; nothing is sent yet. Arguments and errors are those of `Client`."""
        self._connection = Connection.of(
            url, api_key=api_key, token=token, auth=auth, headers=headers, timeout_s=timeout_s, tries=tries
        )
        self._server = httpx2.AsyncClient(**self._connection.arguments(bare=False))
        self._storage = httpx2.AsyncClient(**self._connection.arguments(bare=True))

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._connection.url

    async def heatmap(self, image: ImageSource, **options: Unpack[RequestOptions]) -> HeatmapResult:
        """Explain one image, as `Client.heatmap`."""
        return await self.run(calls.heatmap(image, options))

    async def heatmaps(
        self, images: Iterable[ImageSource], **options: Unpack[RequestOptions]
    ) -> list[HeatmapResult | ApiError]:
        """Explain several images in one request, as `Client.heatmaps`."""
        return await self.run(calls.heatmaps(images, options))

    async def predict(
        self, image: ImageSource, *, model: str | None = None, window: calls.Window = None, frame: int | None = None
    ) -> PredictResult:
        """Classify one image, as `Client.predict`."""
        return await self.run(calls.predict(image, model, window, frame))

    async def predict_all(
        self,
        images: Iterable[ImageSource],
        *,
        model: str | None = None,
        window: calls.Window = None,
        frame: int | None = None,
    ) -> list[PredictResult | ApiError]:
        """Classify several images in one request, as `Client.predict_all`."""
        return await self.run(calls.predict_all(images, model, window, frame))

    async def health(self) -> dict[str, Any]:
        """Return the server's health, as the API answers it."""
        return await self.run(calls.get("/health"))

    async def models(self) -> dict[str, Any]:
        """Return the cards of the server's models and the limits of staged batches, as the API answers them."""
        return await self.run(calls.get("/models"))

    async def create_batch(
        self, files: Files, *, on_progress: Notify = ignore, **options: Unpack[BatchOptions]
    ) -> AsyncStagedBatch:
        """Create a staged batch and declare its files, as `Client.create_batch`."""
        call = batch_steps.begin(named_files(files), batch_options(options), on_progress)
        return AsyncStagedBatch(self, await self.run(call))

    async def open_batch(self, batch_id: str, files: Files = (), *, on_progress: Notify = ignore) -> AsyncStagedBatch:
        """Continue a staged batch, as `Client.open_batch`."""
        if not files:
            await self.run(batch_calls.status(batch_id))
            return AsyncStagedBatch(self, Declared(batch_id, {}))
        call = batch_steps.resume(batch_id, named_files(files), on_progress)
        return AsyncStagedBatch(self, await self.run(call))

    async def run(self, call: Call[T]) -> T:
        """Do what a call yields, and return its result."""
        try:
            action = next(call)
            while True:
                try:
                    reply = await self._do(action)
                except (HeatlensError, OSError) as error:
                    action = call.throw(error)
                else:
                    action = call.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result

    async def aclose(self) -> None:
        """Close the connections."""
        await self._server.aclose()
        await self._storage.aclose()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.aclose()

    async def _do(self, action: Action) -> Any:  # noqa: ANN401 - what the call expects
        if isinstance(action, Together):
            return await self._together(action)
        if isinstance(action, Step):
            return await self._send(action)
        if isinstance(action, Pause):
            return await asyncio.sleep(action.seconds)
        return await asyncio.to_thread(action.do)

    async def _together(self, action: Together) -> list[Any]:
        """Make calls in tasks; an error or a cancellation ends the others."""
        slots = asyncio.Semaphore(action.at_once)

        async def one(call: Call[Any]) -> Any:  # noqa: ANN401 - the call's own
            async with slots:
                return await self.run(call)

        tasks = [asyncio.ensure_future(one(call)) for call in action.calls]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _send(self, step: Step) -> httpx2.Response:
        http = self._storage if step.bare else self._server

        async def send() -> httpx2.Response:
            content = _in_threads(step.chunks) if step.chunks else None
            response = await http.send(self._connection.build(http, step, content), stream=True)
            try:
                return await _received(response, step)
            finally:
                await response.aclose()

        try:
            return await AsyncRetrying(**self._connection.rules(step))(send)
        except httpx2.RequestError as error:
            raise self._connection.broken(error, step) from error


async def _received(response: httpx2.Response, step: Step) -> httpx2.Response:
    """Read the body of a response, into the step's sink if it is a success's."""
    if step.sink is None or not response.is_success:
        await response.aread()
        return response
    step.sink.seek(0)
    step.sink.truncate()
    async for chunk in response.aiter_bytes(CHUNK):
        await asyncio.to_thread(step.sink.write, chunk)
    return response


async def _in_threads(chunks: Callable[[], Iterable[bytes]]) -> AsyncIterator[bytes]:
    """Yield chunks, each read in a thread."""
    iterator = iter(chunks())
    while (chunk := await asyncio.to_thread(next, iterator, None)) is not None:
        yield chunk
