"""The Python API: load a compiled model folder and explain images."""

import asyncio
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, Unpack, overload

from heatlens.card import DRAFT, Card
from heatlens.dicom_out import Kind, check_kinds, needed, read_kinds
from heatlens.errors import HeatlensError
from heatlens.image_source import ImageSource, is_image, list_images, read_source
from heatlens.model import Model, load_by_settings
from heatlens.options import OptionArguments, check_options, read_options
from heatlens.pipeline import explain, score_all
from heatlens.results import DicomObject, Explanation, Outcome
from heatlens.settings import LIMITS, Limits, Settings, read_settings
from heatlens.types import Options, Scores, Upload

Result = TypeVar("Result", Explanation, Scores)


class Run(Protocol[Result]):
    """`pipeline.explain` or `pipeline.score_all`."""

    def __call__(
        self,
        model: Model,
        uploads: Sequence[Upload | HeatlensError],
        options: Options,
        /,
        *,
        limits: Limits,
        batch_images: int,
    ) -> list[Result | HeatlensError]:
        """Run any number of images."""


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
        self._loaded: Model | None = model
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

    def __enter__(self) -> Self:
        """Return the explainer itself, for a `with` block at whose end it is closed."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the explainer."""
        self.close()

    def close(self) -> None:
        """Release the model's memory, once calls in other threads have returned; later calls raise `RuntimeError`."""
        self._loaded = None

    @property
    def _model(self) -> Model:
        if self._loaded is None:
            raise RuntimeError("this explainer is closed: load another")
        return self._loaded

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
            image: The bytes of an image file, a path, an open file, a Pillow image, a NumPy array or a tensor; or any
                number of these. Files are PNG, JPEG, TIFF, WebP, BMP, GIF, AVIF or JPEG 2000, with the extra `dicom`
                DICOM, with the extra `heic` HEIC. Arrays are `[H,W]` or have their channels last (tensors first), with
                `uint8`, `uint16` or floats of 0 to 1; `heatlens.input.array_image.array_image` has all types.
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
                `frame`: A frame of a DICOM file, from 1, by default the first.

        Returns:
            For one image its explanation. For several a list in their order, in which an image that cannot be
            explained is its `HeatlensError`, without affecting the others.

        Raises:
            InvalidOption: An unknown colormap, method, layer or class, or an invalid weight or window.
            LimitError: Too many targets for one image, or too many passes of the network.
            HeatlensError: One image that cannot be explained; the classes of `heatlens.errors` say why.
            TypeError: The image, or one of several, is of another type; or an option has an unknown name.
        """
        checked = read_options(options, frozenset({"overlay"} if overlay else ()))
        return self._each(image, checked, explain)

    async def explain_async(
        self, image: ImageSource | Iterable[ImageSource], *, overlay: bool = True, **options: Unpack[OptionArguments]
    ) -> Any:  # noqa: ANN401 - as `explain`, whose overloads say which
        """Explain in a thread, so that an event loop goes on; arguments, result and errors are those of `explain`."""
        return await asyncio.to_thread(self.explain, image, overlay=overlay, **options)  # type: ignore[arg-type]

    def explain_dicom(
        self, image: ImageSource, kinds: Sequence[Kind] = ("sc",), **options: Unpack[OptionArguments]
    ) -> tuple[Explanation, tuple[DicomObject, ...]]:
        """Explain a DICOM image, and write the explanation as DICOM objects of its study.

        Args:
            image: The bytes of a DICOM file, a path, or an open file.
            kinds: `sc`: a Secondary Capture of the overlay with a legend. `seg`: a binary Segmentation of where the
                heat reaches `threshold` (default 0.5). `heat`: a fractional Segmentation of the heat. `pm`: a
                Parametric Map of it. `sr`: a Structured Report of the prediction, which refers to the others.
            **options: As for `explain`; `format` must be `png` for `sc`.

        Returns:
            The explanation, and the objects of each explained class; `DicomObject.data` has the bytes of a file. Of
            equal arguments the objects are equal, byte for byte, so that an archive recognizes a repetition.

        Raises:
            NoDicomObject: The image is not DICOM, or lacks an element that an object needs.
            InvalidOption: There is no such kind, or an option is invalid.
            UnsupportedImage: The extra `dicom` is not installed.
            HeatlensError: As `explain`.
        """
        asked = read_kinds(",".join(kinds))
        checked = replace(read_options(options, needed(asked)), dicom=asked)
        check_kinds(checked)
        upload = read_source(image, self._settings.limits(LIMITS).file_bytes, keep_floats=False)
        if isinstance(upload, HeatlensError):
            raise upload
        explanation: Explanation = self._each(upload.data, checked, explain)  # type: ignore[assignment]  # of one image
        return explanation, explanation.dicom

    @overload
    def predict(  # type: ignore[overload-overlap]  # a string is a path, not several images
        self, image: ImageSource, *, window: tuple[float, float] | str | None = ..., frame: int | None = ...
    ) -> Scores: ...

    @overload
    def predict(
        self, image: Iterable[ImageSource], *, window: tuple[float, float] | str | None = ..., frame: int | None = ...
    ) -> list[Scores | HeatlensError]: ...

    def predict(
        self,
        image: ImageSource | Iterable[ImageSource],
        *,
        window: tuple[float, float] | str | None = None,
        frame: int | None = None,
    ) -> Scores | list[Scores | HeatlensError]:
        """Classify one image, or each of several, without an explanation.

        Args:
            image: As for `explain`.
            window: Center and width for high-bit-depth grayscale and DICOM, in place of their own.
            frame: A frame of a DICOM file, from 1, by default the first.

        Returns:
            For one image its prediction and every class's score; for several a list, in which an image that cannot be
            classified is its `HeatlensError`.

        Raises:
            InvalidOption: An invalid window or frame.
            HeatlensError: One image that cannot be classified.
            TypeError: The image, or one of several, is of another type.
        """
        checked = check_options({"window": window, "frame": frame, "include": frozenset()})
        return self._each(image, checked, score_all)

    async def predict_async(
        self,
        image: ImageSource | Iterable[ImageSource],
        *,
        window: tuple[float, float] | str | None = None,
        frame: int | None = None,
    ) -> Any:  # noqa: ANN401 - as `predict`, whose overloads say which
        """Classify in a thread, so that an event loop goes on; arguments, result and errors are those of `predict`."""
        return await asyncio.to_thread(self.predict, image, window=window, frame=frame)

    def _each(
        self, image: ImageSource | Iterable[ImageSource], options: Options, run: Run[Result]
    ) -> Result | list[Result | HeatlensError]:
        """Run one image and raise its error, or several, one engine batch at a time: a thousand do not fit memory."""
        model = self._model
        limits, size = self._settings.limits(LIMITS), self._settings.batch_images
        keep_floats = options.window is not None or model.card.preprocess.values is not None

        def run_span(span: list[ImageSource]) -> list[Result | HeatlensError]:
            uploads = [read_source(each, limits.file_bytes, keep_floats=keep_floats) for each in span]
            # The limit of a request's pixels does not apply to Python callers: only each image's limit does.
            own = limits.model_copy(update={"request_pixels": limits.image_pixels * len(uploads)})
            return run(model, uploads, options, limits=own, batch_images=size)

        if is_image(image):
            [outcome] = run_span([image])
            if isinstance(outcome, HeatlensError):
                raise outcome
            return outcome
        images = list_images(image)
        spans = (images[start : start + size] for start in range(0, len(images), size))
        return [outcome for span in spans for outcome in run_span(span)]
