"""Draw a target's map over its image: color, blend and encode, each picture only where the options include it."""

from dataclasses import replace

from PIL import Image

from heatlens.batching import Job
from heatlens.explain.absolute_scale import scaled_heat
from heatlens.explain.cam import signed
from heatlens.render.color import SIGNED, blend, color_map
from heatlens.render.drawing import Drawing
from heatlens.render.encode import encode
from heatlens.render.png import png
from heatlens.render.strip_metadata import strip_metadata
from heatlens.types import Box, Encoded, Floats, Options, Part


def draw(
    job: Job, signed_map: Floats, box: Box, part: Part, options: Options, *, full: float | None
) -> tuple[Encoded | None, Encoded | None]:
    """Draw the overlay and the colored map alone.

    Args:
        job: The image.
        signed_map: Of one target, `[h,w]`.
        box: The part of the image that the model saw.
        part: The part of the map that lies over it.
        options: Which pictures, how colored and how encoded.
        full: The value that is drawn as full heat, `None` for the map's own maximum.
    """
    overlay, heatmap = "overlay" in options.include, "heatmap" in options.include
    if not overlay and not heatmap:
        return None, None
    image = job.picture.image
    with job.timed("colour"):
        heat = signed(signed_map, full) if options.colormap in SIGNED else scaled_heat(signed_map, full)
        colored_map = color_map(heat, image.size, box, part, colormap=options.colormap)
    with job.timed("encode"):
        return (
            encode(_timed(job, blend(image, colored_map, alpha=options.alpha)), options.format) if overlay else None,
            encode(_timed(job, colored_map), options.format) if heatmap else None,
        )


def _timed(job: Job, drawing: Drawing) -> Drawing:
    """Count the time in which an encoder has a strip drawn as that of color."""

    def draw(top: int, bottom: int) -> Image.Image:
        with job.timed("colour"):
            return drawing.draw(top, bottom)

    return replace(drawing, draw=draw)


def draw_original(job: Job, options: Options) -> Encoded | None:
    """Return the upload itself where any viewer shows it as the model saw it, else a PNG of what the model saw."""
    if "original" not in options.include:
        return None
    verbatim, data = job.picture.verbatim, job.upload.data
    if verbatim is not None and options.original == "auto":
        kept = strip_metadata(data) if options.strip_original else data
        if kept is not None:
            return Encoded(kept, verbatim)
    return Encoded(png(job.picture.image), "image/png")
