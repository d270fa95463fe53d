import numpy as np
from PIL import Image

from heatlens.card import Preprocess
from heatlens_torch.loading.network import stack
from tests.support.images import noise

RECIPE = Preprocess(resize=(8, 8), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def test_deep_images_are_stretched_before_they_are_preprocessed() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (20, 20))
    deep = [Image.fromarray(values.astype(kind)) for kind in ("uint16", "int32", "float32")]
    levels = Image.fromarray(np.rint((values - values.min()) * 255 / np.ptp(values)).astype(np.uint8))

    expected, *batch = stack([levels, *deep], RECIPE)

    for each in batch:
        np.testing.assert_array_equal(each, expected)


def test_alpha_is_composed_on_black() -> None:
    image = noise((20, 20)).convert("RGBA")
    image.putalpha(0)

    batch = stack([image, Image.new("RGB", (20, 20))], RECIPE)

    np.testing.assert_array_equal(batch[0], batch[1])
