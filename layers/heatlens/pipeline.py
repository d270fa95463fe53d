"""START HERE. Uploads -> explanations, the stages in order: decode, preprocess, trunk, tail, cam, colour, encode."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from heatlens.cam import gradcam, positive, quality, signed
from heatlens.colour import SIGNED, blend, coloured
from heatlens.decode import decode, measure
from heatlens.encode import encode, png
from heatlens.errors import GenerationFailed, HeatlensError, RequestImagesTooLarge
from heatlens.model import Model
from heatlens.predict import predict
from heatlens.preprocess import preprocess, seen_box
from heatlens.settings import Limits
from heatlens.strip import stripped
from heatlens.types import Box, Encoded, Explanation, Floats, Options, Picture, Upload

logger = logging.getLogger(__name__)

Outcome = Explanation | HeatlensError


def explain(
    model: Model,
    uploads: Sequence[Upload | HeatlensError],
    options: Options,
    *,
    limits: Limits,
    batch_images: int,
) -> list[Outcome]:
    """Explain any number of images.

    Args:
        model: A loaded model.
        uploads: Images; what a door could not read comes as its error and goes through untouched.
        options: Of all of them.
        limits: The door's.
        batch_images: Images decoded and run together.

    Returns:
        One outcome per upload, in order; an image that fails is an error in its own place and affects no other.

    Raises:
        RequestImagesTooLarge: The images together have more pixels than the limit; nothing was decoded.
    """
    _check_request_pixels(uploads, limits)
    outcomes: list[Outcome] = []
    for start in range(0, len(uploads), batch_images):
        outcomes += _explain_batch(model, uploads[start : start + batch_images], options, limits.image_pixels)
    return outcomes


@dataclass(slots=True)
class _Job:
    """One image on its way: what the stages so far have made of it."""

    upload: Upload
    picture: Picture
    tensor: Floats
    timings_ms: dict[str, float] = field(default_factory=dict)


def _explain_batch(
    model: Model, uploads: Sequence[Upload | HeatlensError], options: Options, max_pixels: int
) -> list[Outcome]:
    arrived = [_prepare(upload, model, options, max_pixels) for upload in uploads]
    jobs = [job for job in arrived if isinstance(job, _Job)]
    finished = iter(_run(model, jobs, options))
    return [next(finished) if isinstance(job, _Job) else job for job in arrived]


def _prepare(upload: Upload | HeatlensError, model: Model, options: Options, max_pixels: int) -> _Job | HeatlensError:
    if isinstance(upload, HeatlensError):
        return upload
    timings: dict[str, float] = {}
    try:
        with _timed(timings, "decode"):
            picture = decode(upload.data, max_pixels=max_pixels, window=options.window)
        with _timed(timings, "preprocess"):
            tensor = preprocess(picture.image, model.card.preprocess)
    except HeatlensError as error:
        return error
    return _Job(upload, picture, tensor, timings)


def _run(model: Model, jobs: list[_Job], options: Options) -> list[Outcome]:
    if not jobs:
        return []
    try:
        logits, signed_maps = _infer(model, jobs)
    except MemoryError:  # says nothing of these images: who asked may try again, or with fewer
        raise
    except Exception:
        logger.exception("inference failed")
        return [GenerationFailed("the heatmap could not be generated") for _ in jobs]
    return [_finish(model, *each, options) for each in zip(jobs, logits, signed_maps, strict=True)]


def _infer(model: Model, jobs: list[_Job]) -> tuple[Floats, Floats]:
    shared: dict[str, float] = {}
    with _timed(shared, "trunk"):
        crossing = model.engine.trunk(np.stack([job.tensor for job in jobs]))
    with _timed(shared, "tail"):
        predicted_class = np.zeros((len(jobs), model.card.logits), np.float32)
        logits, gradient = model.engine.tail(crossing, predicted_class)
    with _timed(shared, "cam"):
        signed_maps = gradcam(crossing[0], gradient)
    for job in jobs:
        job.timings_ms |= {stage: ms / len(jobs) for stage, ms in shared.items()}
    return logits, signed_maps


def _finish(model: Model, job: _Job, logits: Floats, signed_map: Floats, options: Options) -> Outcome:
    try:
        return _draw(model, job, logits, signed_map, options)
    except HeatlensError as error:
        return error
    except Exception:
        logger.exception("drawing failed")
        return GenerationFailed("the heatmap could not be generated")


def _draw(model: Model, job: _Job, logits: Floats, signed_map: Floats, options: Options) -> Explanation:
    if not (np.isfinite(logits).all() and np.isfinite(signed_map).all()):
        raise ArithmeticError("the model answered values that are not finite")
    image = job.picture.image
    box = seen_box(image.size, model.card.preprocess)
    overlay, map_image = _pictures(job, signed_map, box, options)
    return Explanation(
        width=image.width,
        height=image.height,
        box=box,
        prediction=predict(logits, model.card),
        signed_map=signed_map,
        quality=quality(signed_map, model.card.calibration),
        overlay=overlay,
        original=_original(job, options) if "original" in options.include else None,
        timings_ms=job.timings_ms,
        map_image=map_image,
    )


def _pictures(job: _Job, signed_map: Floats, box: Box, options: Options) -> tuple[Encoded | None, Encoded | None]:
    """Overlay and coloured map, each where it is asked for."""
    wanted = ("overlay" in options.include, "heatmap" in options.include)
    if not any(wanted):
        return None, None
    image = job.picture.image
    with _timed(job.timings_ms, "colour"):
        heat = signed(signed_map) if options.colormap in SIGNED else positive(signed_map)
        coloured_map = coloured(heat, image.size, box, colormap=options.colormap)
        blended = blend(image, coloured_map, alpha=options.alpha) if wanted[0] else None
    with _timed(job.timings_ms, "encode"):
        overlay = encode(blended, options.format) if blended else None
        map_image = encode(coloured_map, options.format) if wanted[1] else None
    return overlay, map_image


def _original(job: _Job, options: Options) -> Encoded:
    """The upload itself where any viewer shows it as the model saw it, else a PNG of what the model saw."""
    verbatim, data = job.picture.verbatim, job.upload.data
    if verbatim is not None and options.original == "auto":
        kept = stripped(data) if options.strip_original else data
        if kept is not None:
            return Encoded(kept, verbatim)
    return Encoded(png(job.picture.image), "image/png")


def _check_request_pixels(uploads: Sequence[Upload | HeatlensError], limits: Limits) -> None:
    total = sum(pixels(upload, limits.image_pixels) for upload in uploads)
    if total > limits.request_pixels:
        raise RequestImagesTooLarge(
            f"the images have {total / 1e6:.1f} megapixels together, over the limit of "
            f"{limits.request_pixels / 1e6:g} per request: send fewer or smaller ones at a time"
        )


def pixels(upload: Upload | HeatlensError, max_pixels: int) -> int:
    """Pixels of an image that will be decoded; one that will be refused, or was, counts nothing."""
    if isinstance(upload, HeatlensError):
        return 0
    try:
        return measure(upload.data, max_pixels=max_pixels)
    except HeatlensError:
        return 0


@contextmanager
def _timed(timings_ms: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings_ms[stage] = (time.perf_counter() - start) * 1000
