"""START HERE. Uploads -> explanations, the stages in order: decode, preprocess, trunk, tail, cam, colour, encode."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from heatlens.errors import GenerationFailed, HeatlensError, OutOfTime, RequestImagesTooLarge
from heatlens.evaluate.faithfulness import enlarged, faithfulness
from heatlens.evaluate.regions import find_regions
from heatlens.explain.absolute_scale import absolute
from heatlens.explain.attribution import Attribution, attribute, logits_of
from heatlens.explain.cam import positive, quality, signed
from heatlens.explain.predict import predict, score, scores
from heatlens.input.decode import decode, measure
from heatlens.input.preprocess import preprocess, seen_box
from heatlens.model import Model
from heatlens.plan import Plan, check, plan
from heatlens.render.color import SIGNED, blend, coloured
from heatlens.render.encode import encode, png
from heatlens.render.strip_metadata import stripped
from heatlens.results import Explained, Explanation
from heatlens.settings import Limits
from heatlens.types import Box, Encoded, Floats, Options, Picture, Scores, Upload

logger = logging.getLogger(__name__)

Outcome = Explanation | HeatlensError
TimeLeft = Callable[[], float]
Made = TypeVar("Made", Explanation, Scores)


def explain(
    model: Model,
    uploads: Sequence[Upload | HeatlensError],
    options: Options,
    *,
    limits: Limits,
    batch_images: int,
    time_left: TimeLeft | None = None,
) -> list[Outcome]:
    """Explain any number of images.

    Args:
        model: A loaded model.
        uploads: Images; what a door could not read comes as its error and goes through untouched.
        options: Of all of them.
        limits: The door's.
        batch_images: Images decoded and run together.
        time_left: Seconds until an answer is of no use any more; those images that are not done by then are
            `OutOfTime`. Without it there is all the time.

    Returns:
        One outcome per upload, in order; an image that fails is an error in its own place and affects no other.

    Raises:
        InvalidOption: There is no such method, layer or class.
        LimitError: The request asks for more than the door gives: too many pixels together, targets, or passes of the
            network. Nothing was decoded.
    """
    asked = plan(model, options)
    check(asked, len(uploads), limits)
    budget_s = limits.faithfulness_s / max(1, len(uploads) * asked.targets)

    def run(jobs: list[_Job]) -> list[Outcome]:
        return _run(model, jobs, asked, options, budget_s)

    return _in_batches(model, uploads, options, run, limits=limits, batch_images=batch_images, time_left=time_left)


def score_all(
    model: Model,
    uploads: Sequence[Upload | HeatlensError],
    options: Options,
    *,
    limits: Limits,
    batch_images: int,
    time_left: TimeLeft | None = None,
) -> list[Scores | HeatlensError]:
    """Say of any number of images what the model says of them, and explain nothing.

    Arguments, order and errors are those of `explain`.

    Raises:
        LimitError: The images have too many pixels together. Nothing was decoded.
    """

    def run(jobs: list[_Job]) -> list[Scores | HeatlensError]:
        return _score(model, jobs)

    return _in_batches(model, uploads, options, run, limits=limits, batch_images=batch_images, time_left=time_left)


@dataclass(slots=True)
class _Job:
    """One image on its way: what the stages so far have made of it."""

    upload: Upload
    picture: Picture
    tensor: Floats
    timings_ms: dict[str, float] = field(default_factory=dict)


def _in_batches(
    model: Model,
    uploads: Sequence[Upload | HeatlensError],
    options: Options,
    run: Callable[[list[_Job]], list[Made | HeatlensError]],
    *,
    limits: Limits,
    batch_images: int,
    time_left: TimeLeft | None,
) -> list[Made | HeatlensError]:
    _check_request_pixels(uploads, limits)
    outcomes: list[Made | HeatlensError] = []
    slowest = 0.0
    for start in range(0, len(uploads), batch_images):
        batch = uploads[start : start + batch_images]
        if time_left and time_left() < slowest:
            outcomes += [upload if isinstance(upload, HeatlensError) else _out_of_time() for upload in batch]
            continue
        began = time.perf_counter()
        arrived = [_prepare(upload, model, options, limits.image_pixels) for upload in batch]
        finished = iter(run([job for job in arrived if isinstance(job, _Job)]))
        outcomes += [next(finished) if isinstance(job, _Job) else job for job in arrived]
        slowest = max(slowest, time.perf_counter() - began)
    return outcomes


def _out_of_time() -> OutOfTime:
    return OutOfTime("the time for this request was over before this image's turn: send fewer at a time")


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


def _run(model: Model, jobs: list[_Job], asked: Plan, options: Options, budget_s: float) -> list[Outcome]:
    if not jobs:
        return []
    try:
        found = _infer(model, jobs, asked)
    except MemoryError:  # says nothing of these images: who asked may try again, or with fewer
        raise
    except Exception:
        logger.exception("inference of %d images failed", len(jobs))
        if len(jobs) > 1:  # the engine answers for all it is given: one that it cannot do must not fail the others
            return [outcome for job in jobs for outcome in _run(model, [job], asked, options, budget_s)]
        return [GenerationFailed("the heatmap could not be generated")]
    return [_finish(model, *each, asked, options, budget_s) for each in zip(jobs, found, strict=True)]


def _score(model: Model, jobs: list[_Job]) -> list[Scores | HeatlensError]:
    if not jobs:
        return []
    shared: dict[str, float] = {}
    try:
        logits = logits_of(
            model.engine,
            model.card,
            np.stack([job.tensor for job in jobs]),
            lambda stage: _timed(shared, stage),
        )
    except MemoryError:
        raise
    except Exception:
        logger.exception("inference of %d images failed", len(jobs))
        if len(jobs) > 1:
            return [outcome for job in jobs for outcome in _score(model, [job])]
        return [GenerationFailed("the image could not be classified")]
    for job in jobs:
        job.timings_ms |= {stage: ms / len(jobs) for stage, ms in shared.items()}
    return [_scored(model, *each) for each in zip(jobs, logits, strict=True)]


def _scored(model: Model, job: _Job, logits: Floats) -> Scores | HeatlensError:
    if not np.isfinite(logits).all():
        logger.error("the model answered values that are not finite")
        return GenerationFailed("the image could not be classified")
    return Scores(
        width=job.picture.image.width,
        height=job.picture.image.height,
        prediction=predict(logits, model.card),
        classes=scores(logits, model.card),
        timings_ms=job.timings_ms,
    )


def _infer(model: Model, jobs: list[_Job], asked: Plan) -> list[Attribution]:
    shared: dict[str, float] = {}
    found = attribute(
        asked.engine,
        model.card,
        np.stack([job.tensor for job in jobs]),
        [asked.wanted] * len(jobs),
        asked.how,
        lambda stage: _timed(shared, stage),
    )
    for job in jobs:
        job.timings_ms |= {stage: ms / len(jobs) for stage, ms in shared.items()}
    return found


def _finish(model: Model, job: _Job, found: Attribution, asked: Plan, options: Options, budget_s: float) -> Outcome:
    try:
        return _draw(model, job, found, asked, options, budget_s)
    except HeatlensError as error:
        return error
    except Exception:
        logger.exception("drawing failed")
        return GenerationFailed("the heatmap could not be generated")


def _draw(model: Model, job: _Job, found: Attribution, asked: Plan, options: Options, budget_s: float) -> Explanation:
    if not all(np.isfinite(values).all() for values in (found.logits, *found.signed_maps)):
        raise ArithmeticError("the model answered values that are not finite")
    image = job.picture.image
    box = seen_box(image.size, model.card.preprocess)
    return Explanation(
        width=image.width,
        height=image.height,
        box=box,
        prediction=predict(found.logits, model.card),
        explained=tuple(
            _explained(model, job, found, at, box, asked, options, budget_s) for at in range(len(found.classes))
        ),
        original=_original(job, options) if "original" in options.include else None,
        timings_ms=job.timings_ms,
    )


def _explained(
    model: Model, job: _Job, found: Attribution, at: int, box: Box, asked: Plan, options: Options, budget_s: float
) -> Explained:
    """The target at a place among an image's targets."""
    index, signed_map = found.classes[at], found.signed_maps[at]
    shown = found.heats[at] if found.heats else signed_map
    probability, logit = score(found.logits, index, model.card)
    overlay, map_image = _pictures(job, shown, box, asked, options)
    regions = faithful = None
    if "regions" in options.include:
        with _timed(job.timings_ms, "regions"):
            regions = find_regions(_heat(shown, asked), box, threshold=options.threshold)
    if "faithfulness" in options.include:
        with _timed(job.timings_ms, "faithfulness"):
            faithful = faithfulness(
                asked.engine,
                model.card,
                job.tensor,
                enlarged(shown, model.card),
                index,
                budget_s=budget_s,
                contrast=asked.wanted.contrast,
            )
    return Explained(
        label=model.card.classes[index],
        index=index,
        probability=probability,
        logit=logit,
        signed_map=shown,
        quality=quality(signed_map, asked.calibration),
        overlay=overlay,
        contrast=None if asked.wanted.contrast is None else model.card.classes[asked.wanted.contrast],
        map_image=map_image,
        regions=regions,
        faithfulness=faithful,
    )


def _pictures(
    job: _Job, shown: Floats, box: Box, asked: Plan, options: Options
) -> tuple[Encoded | None, Encoded | None]:
    """Overlay and coloured map, each where it is asked for."""
    wanted = ("overlay" in options.include, "heatmap" in options.include)
    if not any(wanted):
        return None, None
    image = job.picture.image
    with _timed(job.timings_ms, "colour"):
        heat = signed(shown, asked.full) if options.colormap in SIGNED else _heat(shown, asked)
        coloured_map = coloured(heat, image.size, box, colormap=options.colormap)
        blended = blend(image, coloured_map, alpha=options.alpha) if wanted[0] else None
    with _timed(job.timings_ms, "encode"):
        overlay = encode(blended, options.format) if blended else None
        map_image = encode(coloured_map, options.format) if wanted[1] else None
    return overlay, map_image


def _heat(shown: Floats, asked: Plan) -> Floats:
    """Positive evidence in 0..1, to the map's own maximum or to the calibration set's."""
    return positive(shown) if asked.full is None else absolute(shown, asked.full)


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
    timings_ms[stage] = timings_ms.get(stage, 0.0) + (time.perf_counter() - start) * 1000
