"""The measured figures that an estimate is made of, as JSON has them, and those of the plain service."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from heatlens.errors import HeatlensError
from heatlens_cli.console import shown
from heatlens_cli.cost.formula import Timing

Architecture = Literal["x86_64", "arm64"]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Bytes = Annotated[int, Field(ge=0)]


class FiguresError(HeatlensError):
    """A file of figures cannot be used."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bytes(_Record):
    """Bytes of a picture, or of what holds it, in each format."""

    png: Annotated[int, Field(gt=0)]
    jpeg: Annotated[int, Field(gt=0)]


class Measured(_Record):
    """Median seconds of one heatmap, and the mean of the processor seconds of all its threads."""

    seconds: _Seconds
    processor_seconds: _Seconds


class Figures(_Record):
    """What was measured on one machine with one image and one model.

    `request` is the Lambda handler's answer with overlay and original, `staged` a heatmap as the worker makes it.
    `answer_bytes` is the body of such an answer, `picture_bytes` the overlay alone, `other_bytes` the rest of a staged
    result. `peak_mib` is the resident memory of the process.
    """

    architecture: Architecture
    processors: Annotated[int, Field(ge=1)]
    image: str
    model: str
    peak_mib: Annotated[float, Field(gt=0)]
    upload_bytes: _Bytes
    request: Measured
    staged: Measured
    answer_bytes: Bytes
    picture_bytes: Bytes
    other_bytes: _Bytes

    def timing(self, work: Measured) -> Timing:
        """Return a time with the processors that it was measured with."""
        return Timing(work.seconds, work.processor_seconds, self.processors)


@dataclass(frozen=True, slots=True)
class PlainService:
    """The plain service of `make bench`: how many times slower a request is there, and its peak memory."""

    slower: float
    peak_mib: float


def read_figures(path: Path) -> Figures:
    """Read figures from the output of `heatlens cost --json`.

    Raises:
        FiguresError: The file has no figures, or they are invalid.
        OSError: The file cannot be read.
    """
    try:
        return Figures.model_validate(_object(path)["figures"])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise FiguresError(f"{shown(path)}: {place}: {first['msg']}; write it with heatlens cost --json") from error
    except KeyError as error:
        raise FiguresError(f"{shown(path)} has no figures: write it with heatlens cost --json") from error


def read_plain(path: Path) -> PlainService:
    """Read the results of `make bench`: medians of both sides from one run, and the plain service's memory.

    Raises:
        FiguresError: The file has no such results.
        OSError: The file cannot be read.
    """
    found = _object(path)
    try:
        taken = found["request_ms"]
        slower = statistics.median(taken["plain"]) / statistics.median(taken["heatlens"])
        return PlainService(slower, float(found["peak_mb"]["plain"]))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, statistics.StatisticsError) as error:
        raise FiguresError(f"{shown(path)} has no results of make bench: give tests/benchmarks/service.json") from error


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FiguresError(f"{shown(path)} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise FiguresError(f"{shown(path)} is no JSON object")
    return found
