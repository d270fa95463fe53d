"""JSON bodies of the inference routes: images as base64, and options beside them."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import FailFast, Field

from heatlens_web.schemas.body import Body
from heatlens_web.schemas.options import HeatmapOptions, ModelOptions


class ImageBody(Body):
    """One image in JSON; base64 without a `data:` prefix."""

    image_base64: str
    filename: str | None = None


class ImagesBody(ModelOptions, Body):
    """A JSON body: images, and options beside them."""

    options: ClassVar[type[ModelOptions]] = ModelOptions  # that a form may have beside the images

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

    options = HeatmapOptions


class BatchHeatmapBody(HeatmapOptions, SeveralImages):
    """JSON body of the heatmap-batch route."""

    options = HeatmapOptions


class PredictBody(OneImage):
    """JSON body of the predict route."""


class BatchPredictBody(SeveralImages):
    """JSON body of the predict-batch route."""
