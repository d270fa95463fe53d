"""Count wrong verdicts on fresh phantoms: correct maps that are called weak, phantoms that are unfamiliar."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from heatlens.results import Explanation
from heatlens_torch.demo.evaluate import POINTING_SIZE, TOLERANCE_PX, distance_to
from heatlens_torch.demo.phantoms import TRUST_SEEDS, Phantom, phantom, to_pil

LABELS = ("CLEAR", "OPACITY")
CHUNK = 16
SIZE = 320
"""Side in pixels of the phantoms; calibration used another."""

Explain = Callable[[Sequence[Image.Image]], Sequence[Explanation]]


@dataclass(slots=True)
class Counts:
    """Verdicts on the phantoms of one class; a map is `correct` if class and place are."""

    phantoms: int = 0
    correct: int = 0
    weak: int = 0
    unfamiliar: int = 0


def count_verdicts(explain: Explain, *, count: int = 400, first: int = 0) -> dict[str, Counts]:
    """Count the verdicts on phantoms that neither training nor calibration saw, every second one with an opacity.

    Args:
        explain: Explains images with the model, for the predicted class.
        count: Phantoms.
        first: Where among the seeds they begin.

    Returns:
        By class: how many there were, how many maps were correct, how many of those were `weak` or `empty`, and how
        many of all inputs were unfamiliar. The map of an opacity is correct if its maximum lies on it or within 15 px
        of it; of a clear phantom, if the class is.
    """
    counts = {label: Counts() for label in LABELS}
    for seeds in _chunks(TRUST_SEEDS[first : first + count]):
        drawn = [phantom(seed, size=SIZE, opacity=bool(seed % 2)) for seed in seeds]
        for seed, each, explanation in zip(seeds, drawn, explain([to_pil(each) for each in drawn]), strict=True):
            _count(counts[LABELS[each.label]], each, explanation, seed)
    return counts


def _count(counts: Counts, drawn: Phantom, explanation: Explanation, seed: int) -> None:
    counts.phantoms += 1
    counts.unfamiliar += explanation.familiarity is None or explanation.familiarity.unfamiliar
    if explanation.prediction.label == LABELS[drawn.label] and (not drawn.label or _points(explanation, seed)):
        counts.correct += 1
        counts.weak += explanation.quality != "ok"


def _points(explanation: Explanation, seed: int) -> bool:
    mask = phantom(seed, size=POINTING_SIZE, opacity=True).mask
    return distance_to(mask, explanation.signed_map) <= TOLERANCE_PX


def _chunks(seeds: range) -> Iterator[range]:
    return (seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK))
