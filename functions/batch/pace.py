"""Measure how long images take in this process, and say how many fit the time that is left."""

from dataclasses import dataclass, field

from heatlens.types import DicomKind, Options

Kind = tuple[str | None, str | None, str | None, bool, bool, tuple[DicomKind, ...]]


@dataclass(slots=True)
class Pace:
    """Seconds per image, for each kind of work; a warm process keeps it, since it describes the machine.

    `assumed` stands for what was not measured yet; `None` means that it is not known.
    """

    assumed: float | None = None
    _measured: dict[Kind, float] = field(default_factory=dict)

    def note(self, options: Options, seconds: float) -> None:
        """Take in the seconds per image of a group: a slower one counts at once, faster ones by halves."""
        known = self._measured.get(_kind(options), 0.0)
        self._measured[_kind(options)] = max(seconds, (known + seconds) / 2)

    def fitting(self, options: Options, images: int, seconds: float) -> int:
        """Return how many of some images fit the seconds: one where nothing is known, to measure it."""
        known = self._measured.get(_kind(options), self.assumed)
        if known is None:
            return min(images, 1)
        return images if known * images <= seconds else max(0, int(seconds / known))


def _kind(options: Options) -> Kind:
    """Return what decides the time of an image, besides its own size."""
    return (
        options.model,
        options.layer,
        options.method,
        options.aug_smooth,
        "faithfulness" in options.include,
        options.dicom,
    )
