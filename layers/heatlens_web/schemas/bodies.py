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
        """The images."""
        raise NotImplementedError


class OneImage(ImagesBody, ImageBody):
    """A body with one image in it."""

    def listed(self) -> Sequence[ImageBody]:
        return [self]


class SeveralImages(ImagesBody):
    """A body with any number of images in it."""

    # Stopping at the first wrong one keeps the answer to a million wrong ones small.
    images: Annotated[list[ImageBody], FailFast(), Field(min_length=1)]

    def listed(self) -> Sequence[ImageBody]:
        return self.images


class HeatmapBody(HeatmapOptions, OneImage):
    """JSON form of the single endpoint's body."""


class BatchHeatmapBody(HeatmapOptions, SeveralImages):
    """JSON form of the batch endpoint's body."""


class PredictBody(OneImage):
    """JSON form of a body whose image is to be classified."""


class BatchPredictBody(SeveralImages):
    """JSON form of a body whose images are to be classified."""
