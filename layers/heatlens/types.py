"""What flows between the stages: small frozen records."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]
# left, top, right, bottom in pixels of the upright original; right and bottom are exclusive
Box = tuple[int, int, int, int]
Colormap = Literal["jet", "hot", "viridis"]
Include = Literal["overlay", "original", "map"]
Quality = Literal["ok", "weak", "empty"]
EngineName = Literal["auto", "openvino", "onnxruntime", "torch"]
Precision = Literal["f32", "bf16", "int8"]


@dataclass(frozen=True, slots=True)
class Upload:
    """One image as a door received it; `filename` is only ever echoed."""

    filename: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image: upright, 8 bits, mode `L` or `RGB`; `verbatim` is the upload's media type if it may go back."""

    image: Image.Image
    verbatim: str | None


@dataclass(frozen=True, slots=True)
class Options:
    """What the client asked for; the defaults are the base contract's."""

    colormap: Colormap = "jet"
    alpha: float = 0.4
    include: frozenset[Include] = frozenset({"overlay", "original"})


@dataclass(frozen=True, slots=True)
class Prediction:
    """The explained class. `logit` is the differentiated one, `margin` its lead over the next, both in logits."""

    label: str
    index: int
    probability: float
    logit: float
    margin: float


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded image and its media type."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One image's answer.

    `signed_map` is float32 `[h, w]` at the layer's own grid, in logit units, before ReLU; `box` is the part of the
    original that the model saw; `overlay` and `original` are `None` where the options left them out; `timings_ms` is
    per stage, trunk and tail being this image's share of its batch.
    """

    width: int
    height: int
    box: Box
    prediction: Prediction
    signed_map: Floats
    quality: Quality
    overlay: Encoded | None
    original: Encoded | None
    timings_ms: dict[str, float]

    @property
    def png(self) -> bytes:
        """The overlay: the map coloured and blended over the original, at the original's size, as a PNG file.

        Raises:
            ValueError: The options left it out.
        """
        if self.overlay is None:
            raise ValueError("this explanation was asked for without its overlay")
        return self.overlay.data
