"""START HERE. Explain images: decode, preprocess, trunk, tail, cam, color, encode."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from heatlens.batching import (
    Job,
    TimeLeft,
    check_request_pixels,
    count_pixels,
    each,
    in_batches,
    shared_timer,
    together,
)
from heatlens.dicom_out import check_source, needed, write_objects
from heatlens.dicom_out.origin import Origin
from heatlens.draw import draw, draw_original
from heatlens.errors import GenerationFailed, HeatlensError
from heatlens.evaluate.faithfulness import Faithfulness, enlarge, faithfulness
from heatlens.evaluate.regions import Regions, find_regions
from heatlens.explain.absolute_scale import scaled_heat
from heatlens.explain.attribution import attribute, classify
from heatlens.explain.cam import quality
from heatlens.explain.familiarity import familiarity
from heatlens.explain.predict import group_score, member_scores, predict, scores
from heatlens.explain.targets import Group, label_of
from heatlens.input.decode import decode
from heatlens.input.decode_memory import (
    DRAWING_BYTES_PER_PIXEL,
    MOST_BYTES_PER_PIXEL,
    OBJECTS_BYTES_PER_PIXEL,
    WRITING_BYTES_PER_PIXEL,
    check_memory,
)
from heatlens.input.geometry import Seen, view_of
from heatlens.input.preprocess import preprocess
from heatlens.model import Model
from heatlens.plan import Plan, check_plan, make_plan
from heatlens.results import Explained, Explanation, Outcome
from heatlens.settings import Limits
from heatlens.types import WHOLE, Floats, Include, Options, Picture, Scores, Upload

logger = logging.getLogger(__name__)

Decode = Callable[..., Picture]  # with the arguments of `decode`

NO_HEATMAP = "the heatmap could not be generated"
_DRAWN: frozenset[Include] = frozenset({"overlay", "heatmap"})
WINDOW_IS_DRAWN = "The window changes the picture alone: this model reads the file's values at full depth."
NO_SCORES = "the image could not be classified"


@dataclass(frozen=True, slots=True)
class Run:
    """What all images of a request share; `budget_s` is the time for the faithfulness of one target, in seconds."""

    model: Model
    plan: Plan
    options: Options
    limits: Limits
    budget_s: float
    decode: Decode = decode

    @property
    def max_bytes(self) -> int | None:
        """Memory that one image may take: the limit's, else what the model leaves."""
        return self.limits.image_bytes or self.model.image_bytes

    @property
    def drawn(self) -> Options:
        """The options with the pictures that DICOM objects show, which the result may leave out."""
        return replace(self.options, include=self.options.include | needed(self.options.dicom))

    @property
    def writing_bytes_per_pixel(self) -> int:
        """Memory that writing the DICOM objects of an image takes, for each of its pixels."""
        return WRITING_BYTES_PER_PIXEL + (self.plan.targets - 1) * OBJECTS_BYTES_PER_PIXEL if self.options.dicom else 0

    def threads(self, uploads: Sequence[Upload | HeatlensError]) -> int:
        """Return how many images of a batch are decoded and drawn at a time: one where the memory is for one."""
        if "faithfulness" in self.options.include:
            return 1  # its time is the budget of one image after another
        most = min(self.model.threads, len(uploads))
        if most < 2 or self.max_bytes is None:
            return most
        pixels = sorted(count_pixels(upload, self.limits.image_pixels) for upload in uploads)
        per_pixel = max(MOST_BYTES_PER_PIXEL, self.writing_bytes_per_pixel)
        return most if sum(pixels[-most:]) * per_pixel <= self.max_bytes else 1


def explain_batch(run: Run, uploads: Sequence[Upload | HeatlensError]) -> list[Outcome]:
    """Explain the images of one batch: the stages, in order.

    A stage gets `run` and one image (`each`) or all images (`together`). If an image fails at one stage, its
    `HeatlensError` takes its place at all later stages.
    """
    threads = run.threads(uploads)
    jobs = each(uploads, partial(decode_upload, run), threads=threads)
    jobs = each(jobs, partial(preprocess_picture, run), threads=threads)
    jobs = together(jobs, partial(attribute_batch, run), failure=NO_HEATMAP)  # trunk, tail, cam
    # quality, color, encode; regions, faithfulness, DICOM objects
    return each(jobs, partial(draw_explanation, run), threads=threads)


def explain(
    model: Model,
    uploads: Sequence[Upload | HeatlensError],
    options: Options,
    *,
    limits: Limits,
    batch_images: int,
    time_left: TimeLeft | None = None,
    decode: Decode = decode,
) -> list[Outcome]:
    """Explain any number of images.

    Args:
        model: A loaded model.
        uploads: Images. An error stands for an image that could not be read, and is returned unchanged.
        options: The options of all images.
        limits: The limits of the caller's deployment.
        batch_images: Images decoded and run together.
        time_left: Seconds until the answer is due; images that are not done by then are `OutOfTime`. `None` means
            without end.
        decode: Decodes an image; a server does so in another process.

    Returns:
        One outcome per upload, in order; an image that fails is an error in its own place and affects no other.

    Raises:
        InvalidOption: There is no such method, layer or class.
        LimitError: The request is over a limit: its pixels together, targets, or passes of the network. Nothing was
            decoded.
    """
    plan = make_plan(model, options)
    check_plan(plan, len(uploads), limits)
    uploads = check_request_pixels(uploads, limits)
    budget_s = limits.faithfulness_s / max(1, len(uploads) * plan.targets)
    run = Run(model, plan, options, limits, budget_s, decode)
    return in_batches(uploads, partial(explain_batch, run), batch_images=batch_images, time_left=time_left)


def score_batch(run: Run, uploads: Sequence[Upload | HeatlensError]) -> list[Scores | HeatlensError]:
    """Classify the images of one batch: the first stages of `explain_batch`, up to the logits."""
    threads = run.threads(uploads)
    jobs = each(uploads, partial(decode_upload, run), threads=threads)
    jobs = each(jobs, partial(preprocess_picture, run), threads=threads)
    scored = together(jobs, partial(run_network, run), failure=NO_SCORES)  # trunk, tail
    return each(scored, partial(read_scores, run))


def score_all(
    model: Model,
    uploads: Sequence[Upload | HeatlensError],
    options: Options,
    *,
    limits: Limits,
    batch_images: int,
    time_left: TimeLeft | None = None,
    decode: Decode = decode,
) -> list[Scores | HeatlensError]:
    """Classify any number of images, without an explanation.

    Arguments, order and errors are those of `explain`; of the options only `window` and `frame` matter.

    Raises:
        LimitError: The images have too many pixels together. Nothing was decoded.
    """
    uploads = check_request_pixels(uploads, limits)
    run_options = replace(options, include=frozenset())
    run = Run(model, make_plan(model, Options()), run_options, limits, budget_s=0, decode=decode)
    return in_batches(uploads, partial(score_batch, run), batch_images=batch_images, time_left=time_left)


def decode_upload(run: Run, upload: Upload) -> Job:
    """Begin an image's job with its decoded picture."""
    job = Job(upload)
    if run.options.dicom:
        check_source(upload.data)
    with job.timed("decode"):
        limits, max_bytes = run.limits, run.max_bytes
        recipe, asked = run.model.card.preprocess, run.options.window
        window = asked or recipe.window
        limited = {"max_pixels": limits.image_pixels, "max_bytes": max_bytes, "frame": run.options.frame}
        job.picture = run.decode(upload.data, **limited, window=window, values=recipe.values)
    if asked and recipe.values:
        job.picture = replace(job.picture, notes=(*job.picture.notes, WINDOW_IS_DRAWN))
    pixels = job.picture.image.width * job.picture.image.height
    if run.drawn.include & _DRAWN:
        check_memory(pixels, DRAWING_BYTES_PER_PIXEL, max_bytes, work="drawing")
    if run.options.dicom:
        check_memory(pixels, run.writing_bytes_per_pixel, max_bytes, work="writing DICOM objects of")
    return job


def preprocess_picture(run: Run, job: Job) -> Job:
    """Add the network's input."""
    with job.timed("preprocess"):
        picture = job.picture
        job.tensor = preprocess(picture.image if picture.values is None else picture.values, run.model.card.preprocess)
        job.picture = replace(picture, values=None)  # it is larger than the picture, and drawing does not need it
    return job


def attribute_batch(run: Run, jobs: Sequence[Job]) -> Sequence[Job]:
    """Add the logits and signed maps of each image's targets."""
    plan, images = run.plan, np.stack([job.tensor for job in jobs])
    with shared_timer(jobs) as timed:
        requests = [plan.request] * len(jobs)
        attributions = attribute(plan.engine, run.model.card, images, requests, plan.method_options, timed)
    for job, attribution in zip(jobs, attributions, strict=True):
        job.attribution = attribution
    return jobs


def draw_explanation(run: Run, job: Job) -> Explanation:
    """Draw and evaluate the maps of each target, and write their DICOM objects.

    Raises:
        HeatlensError: The image cannot be drawn; the cause of `GenerationFailed` is in the log.
    """
    try:
        explanation = _draw_explanation(run, job)
        return _with_objects(run, job, explanation) if run.options.dicom else explanation
    except (HeatlensError, MemoryError):
        raise
    except Exception:
        logger.exception("drawing failed")
        raise GenerationFailed(NO_HEATMAP) from None


def _draw_explanation(run: Run, job: Job) -> Explanation:
    image, attribution = job.picture.image, job.attribution
    if not all(np.isfinite(values).all() for values in (attribution.logits, *attribution.signed_maps)):
        raise ArithmeticError("the model answered values that are not finite")
    view = view_of(image.size, run.model.card.preprocess)
    return Explanation(
        width=image.width,
        height=image.height,
        box=view.box,
        prediction=predict(attribution.logits, run.model.card),
        explained=tuple(_explain_target(run, job, place, view) for place in range(len(attribution.targets))),
        original=draw_original(job, run.options),
        timings_ms=job.timings_ms,
        notes=job.picture.notes,
        familiarity=familiarity(attribution.pooled, run.plan.layer.familiarity),
        part=None if view.part == WHOLE else view.part,
        frame=job.picture.frame,
    )


def _with_objects(run: Run, job: Job, explanation: Explanation) -> Explanation:
    """Add the DICOM objects; an overlay that was drawn for them alone is left out again."""
    origin = Origin.of(run.model, run.plan, run.options)
    with job.timed("dicom"):
        objects = write_objects(job.upload.data, explanation, origin, run.options.dicom)
    explained = explanation.explained
    if "overlay" not in run.options.include:
        explained = tuple(replace(each, overlay=None) for each in explained)
    return replace(explanation, explained=explained, dicom=objects)


def _explain_target(run: Run, job: Job, place: int, view: Seen) -> Explained:
    """Draw and evaluate the map at a place among the image's targets."""
    attribution, plan, card = job.attribution, run.plan, run.model.card
    group, signed_map = attribution.targets[place], attribution.signed_maps[place]
    shown = attribution.heats[place] if attribution.heats else signed_map
    probability, logit = group_score(attribution.logits, group, card)
    label = label_of(group, card)
    full = plan.full_of(label)
    overlay, map_image = draw(job, shown, view.box, view.part, run.drawn, full=full)
    contrast = plan.request.contrast
    return Explained(
        label=label,
        index=group[0] if len(group) == 1 else None,
        probability=probability,
        logit=logit,
        signed_map=shown,
        quality=quality(signed_map, plan.peaks_of(label)),
        overlay=overlay,
        contrast=None if contrast is None else card.classes[contrast],
        map_image=map_image,
        regions=_regions(run, job, shown, view, label),
        faithfulness=_faithfulness(run, job, shown, group),
        members=member_scores(attribution.logits, group, card),
        full_heat=full,
    )


def _regions(run: Run, job: Job, shown: Floats, view: Seen, label: str) -> Regions | None:
    if "regions" not in run.options.include:
        return None
    with job.timed("regions"):
        heat = scaled_heat(shown, run.plan.full_of(label))
        return find_regions(heat, view.box, view.part, threshold=run.options.threshold)


def _faithfulness(run: Run, job: Job, shown: Floats, group: Group) -> Faithfulness | None:
    if "faithfulness" not in run.options.include:
        return None
    card, contrast = run.model.card, run.plan.request.contrast
    with job.timed("faithfulness"):
        heat = enlarge(shown, card)
        return faithfulness(run.plan.engine, card, job.tensor, heat, group, budget_s=run.budget_s, contrast=contrast)


def run_network(run: Run, jobs: Sequence[Job]) -> list[tuple[Job, Floats, Floats]]:
    """Compute the logits `[K]` and the pooled activation `[C]` of each image."""
    images = np.stack([job.tensor for job in jobs])
    with shared_timer(jobs) as timed:
        logits, pooled = classify(run.model.engine, run.model.card, images, timed)
    return list(zip(jobs, logits, pooled, strict=True))


def read_scores(run: Run, classified: tuple[Job, Floats, Floats]) -> Scores:
    """Read prediction, scores and familiarity off an image's logits and pooled activation.

    Raises:
        GenerationFailed: They are not finite.
    """
    job, logits, pooled = classified
    if not np.isfinite(logits).all():
        logger.error("the model answered values that are not finite")
        raise GenerationFailed(NO_SCORES)
    return Scores(
        width=job.picture.image.width,
        height=job.picture.image.height,
        prediction=predict(logits, run.model.card),
        classes=scores(logits, run.model.card),
        timings_ms=job.timings_ms,
        notes=job.picture.notes,
        familiarity=familiarity(pooled, run.plan.layer.familiarity),
        frame=job.picture.frame,
    )
