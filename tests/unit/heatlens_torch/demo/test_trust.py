"""The demo model's verdicts on what it has never seen: phantoms are familiar and their maps ok, all else unfamiliar."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from heatlens import Explainer, Explanation
from heatlens_torch.demo.trust import count_verdicts
from heatlens_torch.proof.strange_images import strange_images
from tests.support.paths import SAMPLES

NEW_SEED = 1  # compiling measured the images of seed 0


@pytest.fixture(scope="module")
def demo() -> Explainer:
    return Explainer.load()


def explained(demo: Explainer, images: Sequence[Image.Image]) -> list[Explanation]:
    outcomes = demo.explain(images, overlay=False)
    return [outcome for outcome in outcomes if isinstance(outcome, Explanation)]


@pytest.mark.contract("quality", "familiarity")
def test_correct_maps_of_fresh_phantoms_are_ok_and_the_phantoms_familiar(demo: Explainer) -> None:
    for label, counts in count_verdicts(lambda images: explained(demo, images), count=400).items():
        assert counts.phantoms == 200
        assert counts.correct >= 190, label
        assert counts.weak <= 0.06 * counts.correct, f"{label}: {counts}"
        assert counts.unfamiliar <= 0.01 * counts.phantoms, f"{label}: {counts}"


@pytest.mark.contract("quality", "familiarity")
def test_the_shipped_samples_are_ok_and_familiar(demo: Explainer) -> None:
    samples = sorted(SAMPLES.glob("phantom-*"))
    assert len(samples) == 5
    for sample in samples:
        explanation = demo.explain(sample)
        assert (explanation.quality, explanation.familiarity and explanation.familiarity.unfamiliar) == ("ok", False)


@pytest.mark.contract("familiarity")
def test_images_of_no_chest_are_unfamiliar(demo: Explainer) -> None:
    found = [
        (kind, each.familiarity is not None and each.familiarity.unfamiliar)
        for kind, images in strange_images(12, seed=NEW_SEED).items()
        for each in explained(demo, images)
    ]
    assert len(found) == 96
    assert [kind for kind, unfamiliar in found if not unfamiliar] == []


SAID = {
    "16-bit noise": Image.fromarray(np.random.default_rng(0).integers(0, 65536, (300, 200), np.uint16)),
    "16-bit constant": Image.fromarray(np.full((300, 200), 40_000, np.uint16)),
    "black": Image.new("L", (512, 512)),
    "white": Image.new("L", (512, 512), 255),
    "plain green": Image.new("RGB", (200, 200), (0, 128, 0)),
    "one pixel": Image.new("L", (1, 1), 90),
    "two by three": Image.fromarray(np.array([[0, 255], [255, 0], [90, 10]], np.uint8)),
}


@pytest.mark.parametrize("image", SAID.values(), ids=SAID)
def test_the_answer_says_that_an_image_is_none_of_the_models_inputs(demo: Explainer, image: Image.Image) -> None:
    explanation = demo.explain(image)
    assert explanation.familiarity is not None
    assert (explanation.familiarity.percentile, explanation.familiarity.unfamiliar) == (100, True)
