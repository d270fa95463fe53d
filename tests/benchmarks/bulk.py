"""Explain 64 images in one process: `python -m tests.benchmarks.bulk SIDE IMAGE PROCESSORS` prints images a second.

Both sides decode, explain, draw and encode each image of 1024 x 1024 pixels as PNG; neither speaks HTTP.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

COUNTS = {"heatlens": 64, "plain": 8}  # the plain side takes a second each
ROUNDS = 2


def main(side: str, image: str, processors: str) -> None:
    """Measure after a round that is not counted, and print the fastest as JSON."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(processors)])  # before an engine counts them
    run = {"heatlens": heatlens, "plain": plain}[side](Path(image))
    count = COUNTS[side]
    run(min(8, count))
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        wall, processor = time.perf_counter(), time.process_time()
        run(count)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        if not best or count / wall > best["images_s"]:
            best = {"images_s": count / wall, "utilization": processor / wall / len(os.sched_getaffinity(0))}
    print(json.dumps(best))


def heatlens(image: Path) -> Callable[[int], object]:
    """Return what explains many images with the Python API."""
    from heatlens import Explainer

    explainer = Explainer.load()
    return lambda count: explainer.explain([image] * count)


def plain(image: Path) -> Callable[[int], object]:
    """Return what explains many images as the plain service does."""
    from tests.benchmarks.plain_image import read_image
    from tests.benchmarks.plain_overlay import overlay, png_base64
    from tests.benchmarks.plain_service import explainer

    def run(count: int) -> None:
        for _ in range(count):
            with image.open("rb") as file:
                picture = read_image(file)
            _, _, heat = explainer.explain(picture, None)
            png_base64(overlay(picture, heat, "jet", 0.4))

    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
