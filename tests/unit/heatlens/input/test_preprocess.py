from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from heatlens.card import Preprocess
from heatlens.input.geometry import view_of
from heatlens.input.preprocess import preprocess
from tests.support.images import noise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESAMPLING = {
    "nearest": v2.InterpolationMode.NEAREST,
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
}


def recipe(resize: int | tuple[int, int], crop: tuple[int, int] | None, interpolation: str) -> Preprocess:
    return Preprocess.model_validate(
        {"resize": resize, "crop": crop, "interpolation": interpolation, "mean": MEAN, "std": STD}
    )


def torchvision_tensor(image: Image.Image, card: Preprocess) -> torch.Tensor:
    assert card.resize is not None
    assert card.mean is not None
    assert card.std is not None
    resize = card.resize if isinstance(card.resize, int) else list(card.resize)
    steps: list[torch.nn.Module] = [v2.Resize(resize, RESAMPLING[card.interpolation], antialias=True)]
    if card.crop:
        steps.append(v2.CenterCrop(list(card.crop)))
    steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(card.mean), list(card.std))]
    tensor: torch.Tensor = v2.Compose(steps)(image.convert("RGB"))
    return tensor


@pytest.mark.parametrize("interpolation", list(RESAMPLING))
@pytest.mark.parametrize(("resize", "crop"), [((64, 64), None), ((48, 80), None), (72, (64, 64)), ((70, 90), (33, 47))])
@pytest.mark.parametrize("size", [(200, 150), (150, 201), (33, 31), (1, 1), (300, 100), (7, 2)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_equals_the_torchvision_transform(
    size: tuple[int, int],
    resize: int | tuple[int, int],
    crop: tuple[int, int] | None,
    interpolation: str,
    mode: str,
) -> None:
    image, card = noise(size, mode), recipe(resize, crop, interpolation)

    expected = torchvision_tensor(image, card).numpy()

    assert np.abs(preprocess(image, card) - expected).max() <= 1e-6


def test_without_a_crop_the_model_sees_the_whole_image() -> None:
    assert view_of((300, 100), recipe((64, 64), None, "bilinear")).box == (0, 0, 300, 100)


def test_with_a_crop_the_model_sees_the_middle() -> None:
    assert view_of((300, 100), recipe(64, (64, 64), "bilinear")).box == (100, 0, 200, 100)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2), (1000, 999)])
def test_the_box_is_never_empty_and_never_outside(size: tuple[int, int]) -> None:
    left, top, right, bottom = view_of(size, recipe(72, (64, 64), "bilinear")).box

    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]


def test_a_very_thin_image_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("L", (3, 200_000), 128)
    image.paste(255, (0, 99_990, 3, 100_010))
    made: list[int] = []
    resize = Image.Image.resize

    def counted(picture: Image.Image, size: tuple[int, int], *arguments: Any, **options: Any) -> Image.Image:  # noqa: ANN401
        made.append(size[0] * size[1])
        return resize(picture, size, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", counted)
    tensor = preprocess(image, recipe(256, (224, 224), "bilinear"))

    assert tensor.shape == (3, 224, 224)
    assert made == [224 * 224]  # the whole would be 256 x 17,066,666
    assert tensor[0].max() == pytest.approx((1 - MEAN[0]) / STD[0])  # the stripe in the middle is what is seen
