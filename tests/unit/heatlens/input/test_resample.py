"""Each resizer is compared with the library that it copies, on noise, which has the most to lose."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import transform
from torchvision.transforms.v2 import InterpolationMode, functional

from heatlens.card import Preprocess
from heatlens.input import preprocess as module
from heatlens.input import resample as resampling
from heatlens.input.preprocess import preprocess
from heatlens.input.resample import Line, resample
from heatlens.steps import Resize
from tests.support.images import noise

SIZES = [(200, 150), (33, 31), (1, 1), (2, 7), (300, 301), (48, 64)]  # width, height
TARGETS = [(64, 64), (64, 48), (37, 150)]  # height, width
OPENCV = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos4": cv2.INTER_LANCZOS4,
}
TENSORS = {
    "nearest": InterpolationMode.NEAREST,
    "nearest-exact": InterpolationMode.NEAREST_EXACT,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}
LEVEL, EXACT = 1, 0.02  # largest differences: of whole gray levels, and of sums that are not rounded
Array = np.ndarray[Any, Any]


def ours(image: Image.Image, size: tuple[int, int], **fields: Any) -> Array:  # noqa: ANN401
    recipe = Preprocess.model_validate({"steps": [{"step": "resize", "size": size} | fields]})
    return preprocess(image, recipe).transpose(1, 2, 0)


def pictures(mode: str = "RGB") -> list[Image.Image]:
    return [noise(size, mode) for size in SIZES]


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("interpolation", OPENCV)
@pytest.mark.parametrize("size", TARGETS)
def test_resizes_as_opencv(size: tuple[int, int], interpolation: str, mode: str, *, rounded: bool) -> None:
    for image in pictures(mode):
        pixels: Array = np.asarray(image.convert("RGB")).astype(np.uint8 if rounded else np.float32)

        theirs = cv2.resize(pixels, size[::-1], interpolation=OPENCV[interpolation])

        found = ours(image, size, library="opencv", interpolation=interpolation, rounded=rounded)
        assert np.abs(found - theirs).max() <= (LEVEL if rounded else EXACT)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("border", [None, 99.0])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", TARGETS)
def test_resizes_as_scikit_image(
    size: tuple[int, int], interpolation: str, border: float | None, *, antialias: bool
) -> None:
    for image in pictures():
        if border is not None and 1 in image.size:
            continue  # SciPy reads beyond a single pixel what no other size has
        options = {"mode": "reflect"} if border is None else {"mode": "constant", "cval": border}
        smooth = antialias if interpolation == "bilinear" else None
        theirs = transform.resize(  # type: ignore[no-untyped-call]
            np.asarray(image),
            (*size, 3),
            order=int(interpolation == "bilinear"),
            preserve_range=True,
            anti_aliasing=smooth,
            **options,
        )

        fields = {"interpolation": interpolation, "border": border, "antialias": antialias}
        assert np.abs(ours(image, size, library="scikit-image", **fields) - theirs).max() <= EXACT


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("interpolation", TENSORS)
@pytest.mark.parametrize("size", TARGETS)
def test_resizes_as_torchvision_resizes_tensors(
    size: tuple[int, int], interpolation: str, *, antialias: bool, rounded: bool
) -> None:
    for image in pictures():
        tensor = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())
        tensor = tensor if rounded else tensor.float()
        resized = functional.resize(tensor, list(size), TENSORS[interpolation], antialias=antialias)

        fields = {"interpolation": interpolation, "antialias": antialias, "rounded": rounded}
        found = ours(image, size, library="torchvision", **fields)
        assert np.abs(found - resized.numpy().transpose(1, 2, 0)).max() <= (LEVEL if rounded else EXACT)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
@pytest.mark.parametrize("size", TARGETS)
def test_sums_of_pillows_filters_are_pillows_own(size: tuple[int, int], interpolation: str) -> None:
    """Only very thin images are resized by these sums, the others by Pillow, which chooses what it does first."""
    step = Resize.model_validate({"size": size, "interpolation": interpolation})
    for image in pictures():
        method = Image.Resampling[interpolation.upper()]
        theirs = image.resize((size[1], image.height), method).resize(size[::-1], method)

        rows, columns = (Line(old, new, 0, new) for old, new in zip(image.size[::-1], size, strict=True))
        found = resample(np.asarray(image), step, rows, columns)
        assert np.abs(found.astype(int) - np.asarray(theirs)).max() <= LEVEL


@pytest.mark.parametrize("library", ["opencv", "scikit-image", "torchvision", "pillow"])
@pytest.mark.parametrize("size", [(300, 200), (31, 45)])
def test_margins_that_are_never_made_are_as_if_they_were(size: tuple[int, int], library: str) -> None:
    image = noise(size)
    side = max(size)
    made = Image.new("RGB", (side, side), (10, 200, 30))
    made.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    step = Resize.model_validate({"size": 64, "library": library})

    rows, columns = (Line(own, 64, 0, 64, (side - own) // 2, side) for own in size[::-1])
    found = resample(np.asarray(image), step, rows, columns, (10, 200, 30))

    whole = resample(np.asarray(made), step, Line(side, 64, 0, 64), Line(side, 64, 0, 64))
    assert np.abs(found.astype(float) - whole).max() <= (EXACT if library == "scikit-image" else LEVEL)


def test_only_what_a_crop_keeps_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("L", (3, 200_000), 128)
    image.paste(255, (0, 99_990, 3, 100_010))
    made: list[int] = []
    summed = resampling._sum_first

    def counted(pixels: Array, *arguments: Any, **options: Any) -> Array:  # noqa: ANN401
        result = summed(pixels, *arguments, **options)
        made.append(max(pixels.size, result.size))
        return result

    monkeypatch.setattr(resampling, "_sum_first", counted)
    steps = [
        {"step": "resize", "size": 256, "fit": "shortest", "library": "opencv"},
        {"step": "crop", "size": 224},
    ]
    tensor = preprocess(image, Preprocess.model_validate({"steps": steps}))

    assert tensor.shape == (3, 224, 224)
    assert tensor.max() == 255  # the stripe in the middle is what is seen
    assert max(made) <= 224 * 224  # the whole would be 256 x 17,066,666


@pytest.mark.parametrize(
    "steps",
    [
        [{"step": "resize", "size": 64}],
        [{"step": "pad", "size": "square", "fill": 7}, {"step": "resize", "size": 64}],
        [{"step": "pad", "size": "square"}, {"step": "resize", "size": 64, "library": "torchvision"}],
        [{"step": "resize", "size": 64, "library": "opencv", "interpolation": "area"}],
        [{"step": "resize", "size": 64, "library": "scikit-image"}],
    ],
)
def test_a_very_thin_image_takes_no_more_memory_than_its_size(
    steps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGEST_RESIZED", 1_000_000)
    monkeypatch.setattr(resampling, "_LARGEST_BETWEEN", 1_000_000)
    image = Image.new("L", (2, 40_000), 128)
    made: list[int] = []
    empty, resize, new = np.empty, Image.Image.resize, Image.new

    def allocated(shape: Any, *arguments: Any, **options: Any) -> Array:  # noqa: ANN401
        made.append(int(np.prod(shape)))
        return empty(shape, *arguments, **options)

    def resized(picture: Image.Image, size: tuple[int, int], *arguments: Any, **options: Any) -> Image.Image:  # noqa: ANN401
        made.append(size[0] * picture.height)
        return resize(picture, size, *arguments, **options)

    def created(mode: str, size: tuple[int, int], *arguments: Any) -> Image.Image:  # noqa: ANN401
        made.append(size[0] * size[1])
        return new(mode, size, *arguments)

    monkeypatch.setattr(np, "empty", allocated)
    monkeypatch.setattr(Image.Image, "resize", resized)
    monkeypatch.setattr(Image, "new", created)
    tensor = preprocess(image, Preprocess.model_validate({"steps": steps}))

    assert tensor.shape == (3, 64, 64)
    assert max(made) <= 4 * image.width * image.height  # squared it is 1,600 million, its rows enlarged 3 million
