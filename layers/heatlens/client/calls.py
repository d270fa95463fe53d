"""The calls of the API about images: each yields its requests and returns its result."""

from collections.abc import Iterable
from typing import Any, TypeVar

import httpx2

from heatlens.client.errors import ApiError
from heatlens.client.exchange import Call, Step, parse, read, request, shape
from heatlens.client.images import RequestOptions, heatmap_options, image_step, images_step, predict_options
from heatlens.client.results import HeatmapResult, PredictResult, SeveralAnswers
from heatlens.image_source import ImageSource, list_images
from heatlens.types import Options

Window = tuple[float, float] | str | None
Result = TypeVar("Result", HeatmapResult, PredictResult)


def heatmap(image: ImageSource, options: RequestOptions) -> Call[HeatmapResult]:
    """Explain one image."""
    return read(HeatmapResult, image_step("/heatmap", image, heatmap_options(options)))


def heatmaps(images: Iterable[ImageSource], options: RequestOptions) -> Call[list[HeatmapResult | ApiError]]:
    """Explain several images."""
    return _several(HeatmapResult, "/heatmap-batch", images, heatmap_options(options))


def predict(image: ImageSource, model: str | None, window: Window, frame: int | None) -> Call[PredictResult]:
    """Classify one image."""
    return read(PredictResult, image_step("/predict", image, predict_options(model, window, frame)))


def predict_all(
    images: Iterable[ImageSource], model: str | None, window: Window, frame: int | None
) -> Call[list[PredictResult | ApiError]]:
    """Classify several images."""
    return _several(PredictResult, "/predict-batch", images, predict_options(model, window, frame))


def get(path: str) -> Call[dict[str, Any]]:
    """Get a JSON object, such as the health or the models."""
    return read(dict[str, Any], Step("GET", path))


def _several(
    kind: type[Result], path: str, images: Iterable[ImageSource], options: Options
) -> Call[list[Result | ApiError]]:
    listed = list_images(images)
    if not listed:
        return []  # which the server would refuse
    response: httpx2.Response = yield from request(images_step(path, listed, options))
    answer = parse(SeveralAnswers, response.content, response.url)
    return [each if isinstance(each, ApiError) else shape(kind).validate_python(each) for each in answer.outcomes()]
