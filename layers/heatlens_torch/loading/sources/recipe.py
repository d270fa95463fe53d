"""Write a library's preprocessing as that of a description: in the short form where it says the same, else as steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from heatlens.card import Preprocess
from heatlens.errors import ModelFileError

LEVELS = 255
SHORT_INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Resize, pad, crop, `value * factor + offset`, then mean and deviation of each channel.

    `resize` and `crop` have the fields of their steps but `step` itself; `crop` and `pad` may be `None`.
    """

    resize: dict[str, Any]
    mean: Sequence[float]
    std: Sequence[float]
    crop: dict[str, Any] | None = None
    pad: dict[str, Any] | None = None
    factor: float = 1 / LEVELS
    offset: float = 0.0
    channels: str = "RGB"

    def preprocess(self) -> Preprocess:
        """Return the validated recipe.

        Raises:
            ModelFileError: It gives no input of one size, or says something that no step can.
        """
        try:
            return Preprocess.model_validate(self._short() if self._is_short() else {"steps": self._steps()})
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ModelFileError(f"preprocess: {message} (--preprocess, or [preprocess] in model.toml)") from error

    def _is_short(self) -> bool:
        return (
            self.resize.get("library", "pillow") == "pillow"
            and self.resize.get("interpolation") in SHORT_INTERPOLATIONS
            and self.resize.get("rounding", "down") == "down"
            and self.resize["fit"] in ("exact", "shortest")
            and not (self.resize["fit"] == "shortest" and _differ(self.resize["size"]))
            and (self.crop is None or self.crop.get("rounding", "nearest") == "nearest")
            and self.pad is None
            and self.channels == "RGB"
            and len(self.mean) == len("RGB")
        )

    def _short(self) -> dict[str, Any]:
        size = self.resize["size"]
        gain = self.factor * LEVELS  # mean and std are on values in 0..1
        return {
            "resize": _pair(size)[0] if self.resize["fit"] == "shortest" else _pair(size),
            "crop": None if self.crop is None else _pair(self.crop["size"]),
            "interpolation": self.resize["interpolation"],
            "mean": [_tidy((mean - self.offset) / gain) for mean in self.mean],
            "std": [_tidy(std / gain) for std in self.std],
        }

    def _steps(self) -> list[dict[str, Any]]:
        steps = [{"step": "resize"} | self.resize]
        steps += [{"step": "pad"} | self.pad] if self.pad else []
        steps += [{"step": "crop"} | self.crop] if self.crop else []
        steps += [{"step": "channels", "order": self.channels}] if self.channels != "RGB" else []
        steps += [{"step": "scale", "factor": self.factor, "offset": self.offset}]
        if any(self.mean) or any(each != 1 for each in self.std):
            steps += [{"step": "normalize", "mean": list(self.mean), "std": list(self.std)}]
        return steps


def channels_of(value: Any, count: int = 3) -> list[float]:  # noqa: ANN401 - JSON
    """Return one number for each channel, of one for all or a list."""
    numbers = [float(each) for each in (value if isinstance(value, list | tuple) else [value])]
    return numbers * count if len(numbers) == 1 else numbers


def _pair(size: Any) -> list[int]:  # noqa: ANN401 - one number or two
    return [size, size] if isinstance(size, int) else list(size)


def _differ(size: Any) -> bool:  # noqa: ANN401 - one number or two
    return len(set(_pair(size))) > 1


def _tidy(number: float) -> float:
    return float(f"{number:.9g}")  # 1/255, as files write it, times 255 is not quite 1
