"""The steps that turn an upright image into the model's input, and their fields."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Pair = tuple[Positive, Positive]
Size = Positive | Pair
Library = Literal["pillow", "opencv", "scikit-image", "torchvision"]
Interpolation = Literal[
    "nearest", "nearest-exact", "bilinear", "bicubic", "lanczos", "lanczos4", "box", "hamming", "area"
]  # in each library's own terms

INTERPOLATIONS: dict[Library, tuple[Interpolation, ...]] = {
    "pillow": ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
    "opencv": ("nearest", "bilinear", "bicubic", "area", "lanczos4"),
    "scikit-image": ("nearest", "bilinear"),
    "torchvision": ("nearest", "nearest-exact", "bilinear", "bicubic"),
}
COLORS = 3


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), defer_build=True)


class Window(_Step):
    """Map the values of DICOM and high-bit-depth grayscale from `low`..`high` to the levels 0..255.

    The values are those after DICOM's rescale (of a CT: Hounsfield units). It replaces the file's own window; a
    request's window replaces it. Images of 8 bits keep their levels.
    """

    step: Literal["window"] = "window"
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _has_a_width(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be under high")
        return self


class Values(_Step):
    """Read the values of DICOM and high-bit-depth grayscale at full depth, float32, in place of 256 gray levels.

    `of` is `rescaled` (DICOM's modality stage, of a CT: Hounsfield units) or `stored`; other files have only stored
    ones. White is the smallest value of MONOCHROME1 and of such a TIFF: these are kept (`keep`), or subtracted from the
    image's `maximum`, or from the largest value that the stored `bits` can have. `scale` is `none`, or maps 0 to the
    `maximum` or the largest value of the `bits` to `low`..`high`.

    `low` and `high` are the range of the training values: others are not clipped. Levels of 8-bit images and of
    colors, 0 to 255, are mapped to it (`map`), or such images are refused (`refuse`).
    """

    step: Literal["values"] = "values"
    low: Finite
    high: Finite
    of: Literal["rescaled", "stored"] = "rescaled"
    monochrome1: Literal["keep", "maximum", "bits"] = "keep"
    scale: Literal["none", "maximum", "bits"] = "none"
    eight_bits: Literal["refuse", "map"] = "refuse"

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be under high")
        if self.of == "rescaled" and "bits" in (self.monochrome1, self.scale):
            raise ValueError('rescaled values have no bits: use "maximum", or of = "stored"')
        return self


class Resize(_Step):
    """Resize as a library does.

    `size` is `[height, width]`, or one number for both. `fit` is `exact` (aspect not kept), `shortest` (the image
    covers the size) or `longest` (it lies within the size); then one side has its size, and the other is rounded
    `down`, as torchvision and transformers do, or to the `nearest`, as ultralytics and albumentations do.

    `antialias` is of torchvision's tensors and of scikit-image, which have it on. `rounded` is whether the result has
    whole gray levels; without it as the library does with 8-bit images. After `values` nothing is rounded.
    `border` is what scikit-image finds beyond the edges: `None` for its default, the mirrored image, or a gray level
    for `mode="constant"`.
    """

    step: Literal["resize"] = "resize"
    size: Size
    fit: Literal["exact", "shortest", "longest"] = "exact"
    interpolation: Interpolation = "bilinear"
    library: Library = "pillow"
    antialias: bool = True
    rounded: bool | None = None
    rounding: Literal["down", "nearest"] = "down"
    border: Finite | None = None

    @model_validator(mode="after")
    def _is_the_librarys(self) -> Self:
        known = INTERPOLATIONS[self.library]
        if self.interpolation not in known:
            raise ValueError(f"{self.library} has no {self.interpolation!r} here: it has {', '.join(known)}")
        if not self.antialias and self.library not in ("scikit-image", "torchvision"):
            raise ValueError(f"antialias is of torchvision and scikit-image: {self.library} cannot turn it off")
        if self.rounded is False and self.library == "pillow":
            raise ValueError("rounded: Pillow resizes to whole gray levels")
        if self.border is not None and self.library != "scikit-image":
            raise ValueError("border is of scikit-image")
        return self

    @property
    def pair(self) -> tuple[int, int]:
        """Height and width."""
        return pair_of(self.size)

    @property
    def whole(self) -> bool:
        """Whether the result has whole gray levels."""
        return self.library != "scikit-image" if self.rounded is None else self.rounded


class Crop(_Step):
    """Cut out the center: `[height, width]`, one number for both, or the largest `square`.

    Half the margin is rounded to the `nearest` even number, as torchvision does, or `down`, as transformers and
    albumentations do; or the `halves` of both lengths are, before they are subtracted, as torchxrayvision does.
    """

    step: Literal["crop"] = "crop"
    size: Size | Literal["square"]
    rounding: Literal["nearest", "down", "halves"] = "nearest"

    def offset(self, length: int, size: int) -> int:
        """Compute how many pixels of `length` come before the crop of `size`."""
        if self.rounding == "nearest":
            return round((length - size) / 2)
        return (length - size) // 2 if self.rounding == "down" else length // 2 - size // 2


class Pad(_Step):
    """Add a margin: up to `[height, width]`, one number for both, or the smallest `square`.

    `fill` is the margin's value, or one for each channel, in the unit of the values at this step. The image lies in the
    `center`, the smaller margin first, or at the `top_left`.
    """

    step: Literal["pad"] = "pad"
    size: Size | Literal["square"]
    fill: Finite | Annotated[tuple[Finite, ...], Field(min_length=1)] = 0.0
    place: Literal["center", "top_left"] = "center"

    def offset(self, margin: int) -> int:
        """Compute how many pixels come before the image, of `margin` in all."""
        return margin // 2 if self.place == "center" else 0

    @property
    def fills(self) -> tuple[float, ...]:
        """The values of the margin, one or one for each channel."""
        return self.fill if isinstance(self.fill, tuple) else (self.fill,)


class Gray(_Step):
    """Make one channel of three: Pillow's `convert("L")`, or a weighted sum that is not rounded.

    A grayscale image has one channel already and keeps its values, times the sum of the weights.
    """

    step: Literal["gray"] = "gray"
    weights: tuple[Finite, Finite, Finite] | None = None


class Channels(_Step):
    """Reorder the channels: `BGR`, or indexes such as `[0, 0]`, of which each makes a channel."""

    step: Literal["channels"] = "channels"
    order: Literal["BGR"] | Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]

    @property
    def indexes(self) -> tuple[int, ...]:
        """The index of each channel of the result."""
        return (2, 1, 0) if self.order == "BGR" else self.order


class Clahe(_Step):
    """Equalize the contrast of each channel as OpenCV's `createCLAHE(clip_limit, tiles)`; `tiles` is `[rows, columns]`.

    Works on whole gray levels: others are rounded.
    """

    step: Literal["clahe"] = "clahe"
    clip_limit: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 40.0
    tiles: Annotated[tuple[Annotated[int, Field(gt=0, le=64)], Annotated[int, Field(gt=0, le=64)]], Field()] = (8, 8)


class Scale(_Step):
    """Compute `value * factor + offset`; without fields, gray levels become 0..1."""

    step: Literal["scale"] = "scale"
    factor: Finite = 1 / 255
    offset: Finite = 0.0

    @model_validator(mode="after")
    def _keeps_the_image(self) -> Self:
        if self.factor == 0:
            raise ValueError("factor 0 leaves nothing of the image")
        return self


class Range(_Step):
    """Map the gray levels 0..255 to `low`..`high`, such as -1024 to 1024."""

    step: Literal["range"] = "range"
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _keeps_the_image(self) -> Self:
        if self.low == self.high:
            raise ValueError("low and high are equal: nothing of the image is left")
        return self


class Clip(_Step):
    """Limit values to `low`..`high`."""

    step: Literal["clip"] = "clip"
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _keeps_the_image(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be under high")
        return self


class Normalize(_Step):
    """Compute `(value - mean) / std`; both have one number for each channel, or one for all."""

    step: Literal["normalize"] = "normalize"
    mean: Annotated[tuple[Finite, ...], Field(min_length=1)]
    std: Annotated[tuple[Deviation, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} numbers and std {len(self.std)}")
        return self


class PerImage(_Step):
    """Normalize by the image's own values: `standardize` to mean 0 and deviation 1, or `minmax` to 0..1.

    `over` is the whole `image`, or each `channel`. A deviation under `least_std`, and that of a flat image, counts as
    `least_std`, or as 1 where that is 0.
    """

    step: Literal["per_image"] = "per_image"
    kind: Literal["standardize", "minmax"] = "standardize"
    over: Literal["image", "channel"] = "image"
    least_std: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


Step = Annotated[
    Window | Values | Resize | Crop | Pad | Gray | Channels | Clahe | Scale | Range | Clip | Normalize | PerImage,
    Field(discriminator="step"),
]
Value = Scale | Range | Clip | Normalize | PerImage


def resized_size(size: tuple[int, int], step: Resize) -> tuple[int, int]:
    """Compute height and width of an image of `size` (height, width) after a resize; never 0."""
    height, width = step.pair
    if step.fit == "exact":
        return height, width
    tall, wide = size
    wider = width * tall, height * wide  # width / wide against height / tall
    by_width = wider[0] >= wider[1] if step.fit == "shortest" else wider[0] <= wider[1]
    if by_width:
        return max(1, _rounded(width * tall / wide, step)), width
    return height, max(1, _rounded(height * wide / tall, step))


def _rounded(length: float, step: Resize) -> int:
    return int(length) if step.rounding == "down" else round(length)


def pair_of(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return height and width."""
    return (size, size) if isinstance(size, int) else size
