"""The results of the pipeline for one image: its prediction, and each explained class."""

from dataclasses import dataclass

from heatlens.errors import HeatlensError
from heatlens.evaluate.faithfulness import Faithfulness
from heatlens.evaluate.regions import Regions
from heatlens.types import Box, Encoded, Familiarity, Floats, Part, Prediction, Quality, Score


@dataclass(frozen=True, slots=True)
class Explained:
    """One explained target of one image; `probability` and `logit` are its own, also where it has a `contrast`.

    Of a group of classes `label` has all labels, joined by `|`, `index` is `None`, and `members` has each class.

    `signed_map` is float32 `[h, w]` at the layer's own grid, before ReLU, in logit units where the method has them;
    with `aug_smooth` it is the smoothed heat in 0..1 at the size of the network's input. `overlay` is `None` where
    the options left it out.
    """

    label: str
    index: int | None
    probability: float
    logit: float
    signed_map: Floats
    quality: Quality
    overlay: Encoded | None
    contrast: str | None = None
    map_image: Encoded | None = None
    regions: Regions | None = None
    faithfulness: Faithfulness | None = None
    members: tuple[Score, ...] | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of one image.

    `explained` has each target, in the order of the options; `box` is the part of the original that the model
    saw. `part` is the part of each map that lies over it, as shares of the map's sides; `None` if all does, else the
    rest lies over padding. `original` is `None` where the options left it out; `timings_ms` is per stage, trunk, tail
    and cam being this image's share of its batch; `notes` say what was assumed to read the file. `familiarity` is the
    input's, whatever the maps look like; `None` where the card has no reference.
    """

    width: int
    height: int
    box: Box
    prediction: Prediction
    explained: tuple[Explained, ...]
    original: Encoded | None
    timings_ms: dict[str, float]
    notes: tuple[str, ...] = ()
    familiarity: Familiarity | None = None
    part: Part | None = None

    @property
    def signed_map(self) -> Floats:
        """The first target's map."""
        return self.explained[0].signed_map

    @property
    def quality(self) -> Quality:
        """The quality of the first target's map."""
        return self.explained[0].quality

    @property
    def overlay(self) -> Encoded | None:
        """The first target's overlay."""
        return self.explained[0].overlay

    @property
    def map_image(self) -> Encoded | None:
        """The first target's colored map alone."""
        return self.explained[0].map_image

    @property
    def png(self) -> bytes:
        """The overlay as a PNG file: the colored map blended over the original, at the original's size.

        Raises:
            ValueError: The options left it out, or it was asked for in another format.
        """
        if self.overlay is None:
            raise ValueError("this explanation has no overlay: call explain with overlay=True")
        if self.overlay.media_type != "image/png":
            raise ValueError(f"the overlay is {self.overlay.media_type}: read its bytes from overlay.data")
        return self.overlay.data


Outcome = Explanation | HeatlensError  # of one image
