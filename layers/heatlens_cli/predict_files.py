"""Classify image files, in groups, and print the classes of each in the order of the files."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from heatlens.errors import HeatlensError
from heatlens.options import check_options
from heatlens.pipeline import score_all
from heatlens.types import Score, Scores, Upload
from heatlens_cli.console import complain, say, shown
from heatlens_cli.explain_report import name_width, sum_up
from heatlens_cli.file_explanation import warnings_of
from heatlens_cli.image_arguments import ImageFile, find_images
from heatlens_cli.in_groups import run_in_groups
from heatlens_cli.load import load


class Predictor:
    """Classifies images with one model; `file_bytes` is the largest file, `notice` the model's own."""

    def __init__(self, model_dir: Path | None, window: str | None, frame: int | None) -> None:
        """Load the model.

        Raises:
            HeatlensError: The model cannot be loaded, or the window or the frame is invalid.
        """
        self._options = check_options({"window": window, "frame": frame, "include": frozenset()})
        self._model, self._limits = load(model_dir)
        self.file_bytes = self._limits.file_bytes
        self.notice = self._model.card.notice

    def read(self, image: ImageFile) -> Upload:
        """Read an image."""
        return Upload(image.place.name, image.read(self.file_bytes))

    def __call__(self, uploads: Sequence[Upload]) -> list[Scores | HeatlensError]:
        """Classify images; one that cannot be classified is its error."""
        return score_all(self._model, uploads, self._options, limits=self._limits, batch_images=len(uploads))


def predict_files(arguments: Sequence[Path], predictor: Predictor, *, top: int = 1, as_json: bool = False) -> int:
    """Classify files; one that fails is reported and the others continue.

    Args:
        arguments: Files, folders, patterns, and `-` for standard input.
        predictor: Classifies one image.
        top: How many classes are printed, the most probable first.
        as_json: Whether to print a JSON object for each file.

    Returns:
        The exit status: 0, or 1 if a file failed or none was found.
    """
    found = find_images(arguments)
    for reason in found.missing:
        complain(reason)
    width = name_width([image.path for image in found.images])
    if not as_json and found.images:
        say(f"{'file':<{width}} {'prediction':<12} probability")
    outcomes = run_in_groups(found.images, predictor.read, predictor)
    reasons = [_report(image.path, outcome, top, None if as_json else width) for image, outcome in outcomes]
    if predictor.notice and found.images and not as_json:
        say(f"notice: {predictor.notice}")
    failures = [reason for reason in reasons if reason is not None]
    is_buried = bool(failures) and None in reasons[reasons.index(failures[0]) :]
    if is_buried and not as_json:
        sum_up(failures, len(reasons))
    return int(not reasons or bool(failures) or bool(found.missing))


def _report(path: Path, scores: Scores | HeatlensError | OSError, top: int, width: int | None) -> str | None:
    """Print the classes of a file; return why it failed, or None."""
    if isinstance(scores, Exception):
        reason = str(scores.strerror or scores if isinstance(scores, OSError) else scores)
        complain(f"{shown(path)}: {reason}")
        if width is None:
            say(json.dumps({"file": str(path), "error": reason}))
        return f"{shown(path)}: {reason}"
    predicted = scores.prediction.index
    others = sorted((score for score in scores.classes if score.index != predicted), key=lambda each: -each.probability)
    if width is None:
        _show_json(path, scores, others[: top - 1])
    else:
        _show_line(f"{shown(path):<{width}}", scores, others[: top - 1])
    return None


def _show_line(name: str, scores: Scores, others: Sequence[Score]) -> None:
    more = "".join(f", {score.label} {score.probability:.4f}" for score in others)
    say(f"{name} {scores.prediction.label:<12} {scores.prediction.probability:.4f}{more}")
    unfamiliar = scores.familiarity is not None and scores.familiarity.unfamiliar
    for warning in warnings_of({}, unfamiliar=unfamiliar):
        say(f"  warning: {warning}")
    for note in scores.notes:
        say(f"  note: {note}")


def _show_json(path: Path, scores: Scores, others: Sequence[Score]) -> None:
    facts = {
        "file": str(path),
        "prediction": asdict(scores.prediction),
        "others": [asdict(score) for score in others],
        "familiarity": asdict(scores.familiarity) if scores.familiarity else None,
        "notes": list(scores.notes),
        "frame": scores.frame,
    }
    say(json.dumps(facts))
