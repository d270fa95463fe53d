"""Measure what the card has besides the proof: calibration, evaluation, and the tools' releases."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from PIL import Image
from scipy import stats

import heatlens
from heatlens.card import WITHOUT_GRADIENTS, Calibration, Peaks
from heatlens.engines.base import Engine
from heatlens.engines.default_map import DefaultMap, explain_by_default
from heatlens.errors import ModelFileError
from heatlens.explain.cam import signed_map
from heatlens.explain.methods import METHODS
from heatlens.types import Floats
from heatlens_torch.batch_size import in_batches
from heatlens_torch.loading import user_functions
from heatlens_torch.loading.network import stack
from heatlens_torch.loading.spec import ModelSpec
from heatlens_torch.proof.parity import explain_compiled

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
WEAK_SHARE, CONFIDENCE = 0.05, 0.95  # of peaks under the floor; that no more are
LEAST_OF_CLASS = 20  # of fewer, no peak stands for the 5th percentile
BATCH = 8
TOOLS = ("torch", "torchvision", "onnx", "openvino", "grad-cam")


def calibrate(engine: Engine, spec: ModelSpec, images: Floats) -> dict[str, Calibration]:
    """Take percentiles of the signed maps' peaks, in all and by class, by every method that needs no further run.

    Without gradients the maps are the default method's alone, Recipro-CAM.

    Args:
        engine: Executes the compiled graphs.
        spec: The description; without a function for its images nothing is calibrated.
        images: `[N,3,H,W]`, preprocessed; each one's predicted class is explained.
    """
    if spec.inputs is None:
        return {}
    peaks: dict[str, list[float]] = defaultdict(list)
    labels: list[str] = []
    for batch in in_batches(images, BATCH):
        found = explain_by_default(engine, batch, np.zeros((len(batch), spec.logits), np.float32))
        labels += [spec.labels[_predicted(row)] for row in found.logits]
        for method, maps in _maps(found):
            peaks[method] += maps.max(axis=(1, 2)).tolist()
    return {method: calibration_of(own, labels) for method, own in peaks.items()}


def _maps(found: DefaultMap) -> Iterator[tuple[str, Floats]]:
    if found.gradient is None:
        yield WITHOUT_GRADIENTS, found.signed_map
        return
    for method in METHODS:
        yield method, signed_map(method, found.activation, found.gradient)


def calibration_of(peaks: Sequence[float], labels: Sequence[str]) -> Calibration:
    """Describe the peaks of images, each explained for the class of its label."""
    by_class = {
        label: [peak for peak, own in zip(peaks, labels, strict=True) if own == label] for label in sorted(set(labels))
    }
    classes = {label: _peaks(own) for label, own in by_class.items() if len(own) >= LEAST_OF_CLASS}
    return Calibration(**_peaks(peaks).model_dump(exclude={"floor"}), classes=classes)


def _peaks(peaks: Sequence[float]) -> Peaks:
    at = np.percentile(peaks, PERCENTILES)
    return Peaks(
        images=len(peaks),
        peak_percentiles={str(percentile): float(peak) for percentile, peak in zip(PERCENTILES, at, strict=True)},
        floor=float(sorted(peaks)[_rank(len(peaks)) - 1]),
    )


def _rank(count: int) -> int:
    """Return which peak, from the least, is under the 5th percentile with 95 % confidence, the first if none is.

    Wilks, "Determination of Sample Sizes for Setting Tolerance Limits", Annals of Mathematical Statistics, 1941: how
    many of N peaks lie under the true percentile is binomial.
    """
    rank = int(stats.binom.ppf(1 - CONFIDENCE, count, WEAK_SHARE))
    return max(1, rank)


def _predicted(logits: Floats) -> int:
    return int(logits[0] >= 0) if len(logits) == 1 else int(np.argmax(logits))


def evaluate(engine: Engine, spec: ModelSpec) -> dict[str, Any] | None:
    """Let the description's function judge the compiled model; `None` where the description names none.

    The function gets `score(images: list[PIL.Image])`, which returns logits and signed maps `[N,h,w]`, float32.
    For a sigmoid model these are the one logit `[N]` and the map of the positive class, otherwise all logits `[N,K]`
    and the map of the predicted class.

    Raises:
        ModelFileError: It fails, or does not return a JSON object.
    """
    function, single = spec.evaluation, spec.output == "sigmoid"
    if function is None:
        return None

    def score(images: list[Image.Image]) -> tuple[Floats, Floats]:
        selector = np.full((len(images), spec.logits), np.float32(single))
        explained = explain_compiled(engine, stack(images, spec.preprocess), selector)
        return explained.logits[:, 0] if single else explained.logits, explained.signed_map

    findings = user_functions.call("evaluation", function, score)
    try:
        json.dumps(findings, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"evaluation: {function!r} did not return plain JSON values") from error
    if not isinstance(findings, dict):
        raise ModelFileError(f"evaluation: {function!r} did not return a dict")
    return findings


def made_with() -> dict[str, str]:
    """List the releases of the tools that shaped the graphs, and of Heatlens."""
    return {tool: version(tool) for tool in TOOLS} | {"heatlens": heatlens.__version__}
