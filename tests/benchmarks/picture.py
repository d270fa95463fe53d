"""`make bench-picture`: what an overlay costs from the map to the response's JSON, beside its floor, in one run.

The floor is the encoder alone over finished pixels, for a PNG one deflate pass, and one blend of finished pictures.
The sides take turns, so that a busy machine is busy for both; figures are medians of processor time.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import Response
from isal import isal_zlib
from PIL import Image

from heatlens.batching import Job
from heatlens.draw import draw, draw_original
from heatlens.explain.cam import positive
from heatlens.input.decode import decode
from heatlens.model import Model, load_model
from heatlens.pipeline import explain
from heatlens.render.color import blend, color_map, levels
from heatlens.render.encode import encode
from heatlens.render.enlarge import strip_rows
from heatlens.render.png import LEVEL
from heatlens.results import Explanation
from heatlens.settings import DEMO_MODEL, LIMITS
from heatlens.types import WHOLE, Format, Options, Upload
from heatlens_cli.measure import sample_image
from heatlens_web.deliver import Results, deliver_one
from tests.support.images import encoded
from tests.support.paths import ROOT

SIDES = (512, 1024, 2048)
SOURCES = {"L": sample_image(), "RGB": ROOT / "layers" / "photo.jpg"}
FORMATS: tuple[Format, ...] = ("png", "jpeg", "webp")
ROUNDS = 21
RESULTS = ROOT / "tests" / "benchmarks" / "picture.json"
PAGE = ROOT / "tests" / "benchmarks" / "PICTURE.md"
DEFLATE_LEVELS = (1, 2, 3)

Work = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all cases; write the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each case")
    rounds = parser.parse_args(arguments).rounds
    model = load_model(DEMO_MODEL)
    cases = [measure(model, side, mode, form, rounds) for side in SIDES for mode in SOURCES for form in FORMATS]
    found = {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} processors, {platform.system()}",
        "versions": {tool: version(tool) for tool in ("pillow", "numpy", "isal", "pydantic")},
        "rounds": rounds,
        "cases": cases,
    }
    RESULTS.write_text(json.dumps(found) + "\n", encoding="utf-8")
    PAGE.write_text("\n".join([*page_lines(found), ""]), encoding="utf-8")


def measure(model: Model, side: int, mode: str, form: Format, rounds: int) -> dict[str, Any]:
    """Measure one case: milliseconds of processor and wall time of each piece of work, and the bytes of the overlay."""
    options = Options(format=form, include=frozenset({"overlay", "original"}))
    with Image.open(SOURCES[mode]) as image:
        upload = Upload("image.jpg", encoded(image.convert(mode).resize((side, side)), "JPEG", quality=90))
    [explanation] = explain(model, [upload], options, limits=LIMITS, batch_images=1)
    assert isinstance(explanation, Explanation)
    assert explanation.overlay
    job = Job(upload)
    job.picture = decode(upload.data, max_pixels=LIMITS.image_pixels)
    works = pieces(job.picture.image, explanation, options)
    works["all"] = lambda: answer(model, job, explanation, options)
    taken: dict[str, list[list[float]]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            before = time.process_time(), time.perf_counter()
            work()
            after = time.process_time(), time.perf_counter()
            if turn:
                taken[name].append([round(1000 * (end - start), 3) for start, end in zip(before, after, strict=True)])
    case = {"side": side, "mode": mode, "format": form, "bytes": len(explanation.overlay.data), "ms": taken}
    print(f"{side} {mode} {form}: {ratio(case):.2f} of the floor", flush=True)
    return case


def answer(model: Model, job: Job, explanation: Explanation, options: Options) -> Response:
    """Draw the overlay, and write it and the upload into the response's JSON."""
    first, part = explanation.explained[0], explanation.part or WHOLE
    overlay, _ = draw(job, first.signed_map, explanation.box, part, options, full=first.full_heat)
    drawn = replace(explanation, explained=(replace(first, overlay=overlay),), original=draw_original(job, options))
    return deliver_one(Results([job.upload.filename], [drawn], model, options, "id", 0.0), accept="application/json")


def pieces(picture: Image.Image, explanation: Explanation, options: Options) -> dict[str, Work]:
    """Return the floor, the stages one after the other, each with those before it, and deflate at each level."""
    heat, size, box = positive(explanation.signed_map), picture.size, explanation.box
    part, height = explanation.part or WHOLE, picture.height
    colored = color_map(heat, size, box, part, colormap=options.colormap)
    overlay = blend(picture, colored, alpha=options.alpha)
    ready, ready_map, rgb = overlay.whole(), colored.whole(), picture.convert("RGB")
    filtered, compute = filter_up(ready), levels(heat, size, box, part)
    rows = strip_rows(size[0])
    compress: dict[str, Work] = {
        f"deflate {level}": partial(isal_zlib.compress, filtered, level) for level in DEFLATE_LEVELS
    }
    return {
        "floor: blend": lambda: Image.blend(rgb, ready_map, options.alpha),
        "floor: encode": compress[f"deflate {LEVEL}"] if options.format == "png" else lambda: pillow(ready, options),
        "levels": lambda: [compute(top, min(top + rows, height)) for top in range(0, height, rows)],
        "palette": lambda: list(map(id, colored.strips())),
        "blend": lambda: list(map(id, overlay.strips())),
        "encode": lambda: encode(overlay, options.format),
        **(compress if options.format == "png" else {}),
    }


def filter_up(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return what a PNG's deflate stream has of an image."""
    rows = np.asarray(image).reshape(image.height, -1)
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    return np.concatenate([np.full((len(rows), 1), 2, np.uint8), rows - above], axis=1)


def pillow(image: Image.Image, options: Options) -> bytes:
    """Encode finished pixels with the same settings as the product."""
    if options.format == "jpeg":
        return encoded(image, "JPEG", quality=90, subsampling="4:4:4")
    return encoded(image, "WEBP", quality=90, method=0)


def milliseconds(case: dict[str, Any], name: str, clock: int = 0) -> float:
    """Return the median of a piece of work: of processor time, or with `clock` 1 of wall time."""
    return float(statistics.median(each[clock] for each in case["ms"][name]))


def floor(case: dict[str, Any], clock: int = 0, encoder: str = "floor: encode") -> float:
    """Return the median of a blend and an encoder alone."""
    return milliseconds(case, "floor: blend", clock) + milliseconds(case, encoder, clock)


def ratio(case: dict[str, Any], clock: int = 0, encoder: str = "floor: encode") -> float:
    """Return how many times the floor all of it takes."""
    return milliseconds(case, "all", clock) / floor(case, clock, encoder)


def page_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# An overlay, from the map to the JSON"
    yield ""
    yield "Written by `make bench-picture`; do not edit. `all` is what follows the map: enlargement, palette, blend,"
    yield "encoder, base64, and JSON with the upload in it. Each stage is the difference to the one before. The floor"
    yield f"is the encoder alone over finished pixels (of a PNG one deflate pass, at ISA-L's level {LEVEL} as in the"
    yield f"product) and one blend of finished pictures. Medians of {found['rounds']} rounds in which all take turns,"
    yield "in milliseconds of processor time; `wall` is the ratio of wall time. The machine had other work, so"
    yield "compare within a row."
    yield ""
    yield f"{found['machine']}; {', '.join(f'{tool} {release}' for tool, release in found['versions'].items())}."
    yield ""
    yield "| upload | | levels | palette | blend | encode | base64, JSON | all | floor | ratio | wall | KB |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for case in found["cases"]:
        chain = [0.0, *(milliseconds(case, name) for name in ("levels", "palette", "blend", "encode", "all"))]
        stages = " | ".join(f"{after - before:.1f}" for before, after in pairwise(chain))
        yield (
            f"| {case['side']}² {case['mode']} | {case['format']} | {stages} | {chain[-1]:.1f} | {floor(case):.1f} | "
            f"{ratio(case):.2f} | {ratio(case, 1):.2f} | {case['bytes'] / 1000:,.0f} |"
        )
    yield ""
    yield "One deflate pass at each level of ISA-L, in milliseconds, and `all` as a ratio to the floor with that level:"
    yield ""
    yield "| upload | " + " | ".join(f"level {level} | ratio" for level in DEFLATE_LEVELS) + " |"
    yield "|---|" + "---|---|" * len(DEFLATE_LEVELS)
    for case in found["cases"]:
        if case["format"] == "png":
            names = [f"deflate {level}" for level in DEFLATE_LEVELS]
            cells = [f"{milliseconds(case, name):.1f} | {ratio(case, encoder=name):.2f}" for name in names]
            yield f"| {case['side']}² {case['mode']} | {' | '.join(cells)} |"
    yield ""
    yield "[picture.json](picture.json) has every sample."


if __name__ == "__main__":
    main()
