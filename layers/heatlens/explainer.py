"""The Python API: load a compiled model folder and explain images."""

import os
import warnings
from collections.abc import Iterable, Mapping
from io import IOBase
from pathlib import Path
from typing import Self, Unpack, cast, overload

from PIL import Image

from heatlens.card import DRAFT, Card
from heatlens.errors import FileTooLarge, HeatlensError, UnreadableImage
from heatlens.input.pillow_image import image_file
from heatlens.model import Model, load_by_settings
from heatlens.options import OptionArguments, read_options
from heatlens.pipeline import explain
from heatlens.results import Explanation, Outcome
from heatlens.settings import LIMITS, Settings, read_settings
from heatlens.types import Options, Upload

ImageSource = bytes | str | os.PathLike[str] | Image.Image
ONE_IMAGE = (bytes, str, os.PathLike, Image.Image)


class Explainer:
    """A compiled model, loaded once; safe to use from several threads.

    Example:
        >>> import heatlens
        >>> explainer = heatlens.Explainer.load()  # the demo model; give the folder of your own
        >>> explanation = explainer.explain("layers/heatlens_web/static/samples/phantom-01-opacity.png")
        >>> explanation.prediction.label, explanation.quality
        ('OPACITY', 'ok')
        >>> explanation.signed_map.shape, explanation.png[1:4]
        ((20, 20), b'PNG')
    """

    def __init__(self, model: Model, settings: Settings) -> None:
        self._model = model
        self._settings = settings

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Self:
        """Verify a model folder, compile its graphs for this machine, and warm them up; a draft gives a warning.

        Args:
            path: The folder that `heatlens compile` wrote; by default `HEATLENS_MODEL_DIR`, else the demo model.

        Raises:
            SettingsError: An environment variable `HEATLENS_…` has an invalid value.
            CardError: The folder is not a complete, unaltered model, or is of a newer Heatlens.
            EngineError: The graphs do not fit the memory, or do not run as the card describes.
        """
        settings = read_settings()
        folder = None if path is None else Path(path)
        model = load_by_settings(settings, folder, drafts=True)
        if model.card.draft:
            warnings.warn(DRAFT, stacklevel=2)
        return cls(model, settings)

    @property
    def card(self) -> Card:
        """The card: classes, preprocessing, layers, and the proof of the explanations."""
        return self._model.card

    @property
    def sha256(self) -> str:
        """The digest (hex) of the card, which covers all other files: it identifies the model."""
        return self._model.sha256

    @overload
    def explain(  # type: ignore[overload-overlap]  # a string is a path, not several images
        self, image: ImageSource, *, overlay: bool = ..., **options: Unpack[OptionArguments]
    ) -> Explanation: ...

    @overload
    def explain(
        self, image: Iterable[ImageSource], *, overlay: bool = ..., **options: Unpack[OptionArguments]
    ) -> list[Outcome]: ...

    def explain(
        self, image: ImageSource | Iterable[ImageSource], *, overlay: bool = True, **options: Unpack[OptionArguments]
    ) -> Explanation | list[Outcome]:
        """Explain classes of one image, or of each of several; by default the predicted one, by Grad-CAM.

        Args:
            image: The bytes of an image file, a path, or a Pillow image; or any number of these. Files are PNG, JPEG,
                TIFF, WebP, BMP, GIF, AVIF or JPEG 2000, with the extra `dicom` DICOM, with the extra `heic` HEIC.
            overlay: Whether to draw the overlay, which is most of the work on a large image.
            **options: Options by name.

                `colormap`: `jet` (default), `hot`, `viridis`, `turbo`, `inferno`, `magma`, `cividis` or `gray`;
                `coolwarm` or `seismic` draw the signed map, their middle meaning no evidence.
                `alpha`: Weight of the heat in the overlay, 0.1 to 0.9 (default 0.4):
                `alpha * heat + (1 - alpha) * original`.
                `target`: Class label, index or `top-k`, or several; `Explanation.explained` has one entry for each.
                `contrast`: A class; each target's logit is explained less that class's.
                `method`: `gradcam` (default; `reciprocam` if the model has no gradients) or another of
                    `heatlens.explain.attribution.METHOD_NAMES`. The keys of `heatlens.explain.perturbation.RERUNS` run
                    the network once for each channel of the layer, `reciprocam` its tail once for each cell.
                `layer`: A layer of the card, by default its first.
                `eigen_smooth`, `aug_smooth`: pytorch-grad-cam's smoothing, by the first principal component, and by
                six views of the image.
                `scale`: `image` (default): full heat is the map's maximum; `absolute`: the calibration set's.
                `format`: Of the overlay: `png` (default), `jpeg` or `webp`.
                `window`: Center and width for high-bit-depth grayscale and DICOM, in place of their own.

        Returns:
            For one image its explanation. For several a list in their order, in which an image that cannot be
            explained is its `HeatlensError`, without affecting the others.

        Raises:
            InvalidOption: An unknown option, colormap, method, layer or class, or an invalid weight or window.
            LimitError: Too many targets for one image, or too many passes of the network.
            HeatlensError: One image that cannot be explained; the classes of `heatlens.errors` say why.
            TypeError: The image, or one of several, is of another type.
        """
        checked = read_options(options, frozenset({"overlay"} if overlay else ()))
        if isinstance(image, ONE_IMAGE):
            [outcome] = self._explain([image], checked)
            if isinstance(outcome, HeatlensError):
                raise outcome
            return outcome
        # Read one engine batch at a time: a thousand files do not fit the memory.
        images, size = _several(image if isinstance(image, Iterable) else [image]), self._settings.batch_images
        spans = (images[start : start + size] for start in range(0, len(images), size))
        return [outcome for span in spans for outcome in self._explain(span, checked)]

    def _explain(self, images: list[ImageSource], options: Options) -> list[Outcome]:
        limits = self._settings.limits(LIMITS)
        uploads = [_upload(image, limits.file_bytes) for image in images]
        # The limit of a request's pixels does not apply to Python callers: only each image's limit does.
        limits = limits.model_copy(update={"request_pixels": limits.image_pixels * len(images)})
        return explain(self._model, uploads, options, limits=limits, batch_images=self._settings.batch_images)


def _several(images: Iterable[ImageSource]) -> list[ImageSource]:
    """List the images; an open file, an array or a mapping is iterable too, but none of its items is an image."""
    listed: list[object] = [images] if isinstance(images, IOBase | Mapping) else list(images)
    wrong = [item for item in listed if not isinstance(item, ONE_IMAGE)]
    if wrong:
        raise TypeError(
            f"an image is the bytes of a file, a path or a Pillow image, and not {type(wrong[0]).__name__}: read a "
            "file, and make an array an image by PIL.Image.fromarray"
        )
    return cast("list[ImageSource]", listed)


def _upload(image: ImageSource, file_bytes: int) -> Upload | HeatlensError:
    if isinstance(image, Image.Image):
        try:
            return Upload("unknown", image_file(image))
        except UnreadableImage as error:
            return error
    if isinstance(image, bytes):
        name, data = "unknown", image
    else:
        path = Path(image)
        name = path.name
        try:
            with path.open("rb") as file:
                data = file.read(file_bytes + 1)
        except OSError as error:
            unreadable = UnreadableImage(f"{name}: {error.strerror or 'cannot be read'}")
            unreadable.__cause__ = error
            return unreadable
    if len(data) > file_bytes:
        return FileTooLarge(f"{name} has more than {file_bytes} bytes")
    return Upload(name, data)
