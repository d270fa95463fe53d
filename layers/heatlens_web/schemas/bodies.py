"""JSON bodies of the inference routes: images as base64, and options beside them."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, FailFast, Field

from heatlens_web.schemas.options import HeatmapOptions, ModelOptions


class ImageBody(BaseModel):
    """One image in JSON; base64 without a `data:` prefix."""

    image_base64: str
    filename: str | None = None


class ImagesBody(ModelOptions):
    """A JSON body: images, and options beside them."""

    def listed(self) -> Sequence[ImageBody]:
        """Return the images."""
        raise NotImplementedError


class OneImage(ImagesBody, ImageBody):
    """A JSON body with one image."""

    def listed(self) -> Sequence[ImageBody]:
        return [self]


class SeveralImages(ImagesBody):
    """A JSON body with any number of images."""

    # Stopping at the first wrong image keeps the response to a million wrong ones small.
    images: Annotated[list[ImageBody], FailFast(), Field(min_length=1)]

    def listed(self) -> Sequence[ImageBody]:
        return self.images


class HeatmapBody(HeatmapOptions, OneImage):
    """JSON body of the heatmap route."""


class BatchHeatmapBody(HeatmapOptions, SeveralImages):
    """JSON body of the heatmap-batch route."""


class PredictBody(OneImage):
    """JSON body of the predict route."""


class BatchPredictBody(SeveralImages):
    """JSON body of the predict-batch route."""
