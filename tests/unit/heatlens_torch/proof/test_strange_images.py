import numpy as np

from heatlens_torch.proof.strange_images import KINDS, strange_images


def test_every_kind_has_color_and_gray_images_that_depend_on_the_seed_alone() -> None:
    images, again, others = strange_images(4), strange_images(4), strange_images(4, seed=1)
    assert set(images) == set(KINDS)
    for kind, own in images.items():
        assert [image.mode for image in own] == ["RGB", "L", "RGB", "L"]
        assert [image.tobytes() for image in own] == [image.tobytes() for image in again[kind]]
        if kind != "black":
            assert len({image.tobytes() for image in own + others[kind]}) == 8


def test_clouds_have_a_photographs_spectrum_and_noise_has_not() -> None:
    images = strange_images(2)
    for kind, falls in (("clouds", True), ("noise", False)):
        spectrum = np.abs(np.fft.fft2(np.asarray(images[kind][1], np.float64)))
        low, high = spectrum[0, 1:4].mean(), spectrum[0, 100:128].mean()
        assert (low > 10 * high) == falls
