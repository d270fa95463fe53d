"""Preprocessing that training code has and torchvision's classic list has not: padding, channels, ranges, resizers."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from heatlens import Explainer
from heatlens.card import Preprocess, read_card
from heatlens.input.preprocess import preprocess
from heatlens.model import load_model
from heatlens.pipeline import explain
from heatlens.results import Explanation
from heatlens.settings import LIMITS, Settings
from heatlens.types import Options, Upload
from heatlens_torch.compile import compile_model
from heatlens_torch.inspection import inspect_model
from tests.support.images import encoded, noise
from tests.support.tiny import GRID, SIDE, write_tiny_model

CELL = 640 // GRID  # pixels of a cell of the map, of an image whose longer side is 640
SCALE: dict[str, Any] = {"step": "scale"}
LONGEST: dict[str, Any] = {"step": "resize", "size": SIDE, "fit": "longest"}
PADDED: dict[str, list[dict[str, Any]]] = {
    "letterbox": [LONGEST, {"step": "pad", "size": SIDE}, SCALE],
    "top left": [LONGEST, {"step": "pad", "size": SIDE, "place": "top_left"}, SCALE],
    "square": [{"step": "pad", "size": "square"}, {"step": "resize", "size": SIDE, "library": "opencv"}, SCALE],
}


def marked(size: tuple[int, int], center: tuple[int, int], reach: int) -> Image.Image:
    image = Image.new("L", size)
    image.paste(255, (center[0] - reach, center[1] - reach, center[0] + reach, center[1] + reach))
    return image


def explained(folder: Path, steps: list[dict[str, Any]], data: bytes, **options: Any) -> Explanation:  # noqa: ANN401
    recipe = Preprocess.model_validate({"steps": steps})
    model = load_model(write_tiny_model(folder, preprocess=recipe))
    limits = Settings().limits(LIMITS)
    [outcome] = explain(model, [Upload("a.png", data)], Options(**options), limits=limits, batch_images=1)
    assert isinstance(outcome, Explanation)
    return outcome


@pytest.mark.parametrize(("size", "center"), [((640, 320), (520, 120)), ((320, 640), (120, 520))])
@pytest.mark.parametrize("name", PADDED)
def test_the_heat_of_a_padded_image_lies_on_its_mark(
    name: str, size: tuple[int, int], center: tuple[int, int], tmp_path: Path
) -> None:
    image = marked(size, center, CELL // 2)
    options: dict[str, Any] = {"target": ("BRIGHT",), "include": frozenset({"heatmap", "regions"}), "colormap": "gray"}

    found = explained(tmp_path / "model", PADDED[name], encoded(image), **options)

    assert found.box == (0, 0, *size)
    assert found.part is not None
    assert found.map_image is not None
    heat = np.asarray(Image.open(io.BytesIO(found.map_image.data)))[..., 0]
    rows, columns = np.nonzero(heat == heat.max())
    assert (columns.mean(), rows.mean()) == pytest.approx(center, abs=2)
    assert found.explained[0].regions is not None
    [region] = found.explained[0].regions.regions
    left, top, right, bottom = region.box
    assert left < center[0] < right
    assert top < center[1] < bottom
    assert max(right - left, bottom - top) <= 2 * CELL


def test_what_is_not_padded_has_no_part(tmp_path: Path) -> None:
    steps = [{"step": "resize", "size": SIDE}, SCALE]

    assert explained(tmp_path / "model", steps, encoded(marked((64, 48), (20, 20), 4))).part is None


def test_a_models_own_window_reads_high_bit_depth_files(tmp_path: Path) -> None:
    values = np.full((8, 8), 1500, np.uint16)
    values[:4] = 500
    data = encoded(Image.fromarray(values))
    steps: list[dict[str, Any]] = [{"step": "window", "low": 0, "high": 2000}, {"step": "resize", "size": SIDE}, SCALE]

    by_window = explained(tmp_path / "window", steps, data)
    by_request = explained(tmp_path / "request", steps, data, window=(1000.5, 1001))
    by_range = explained(tmp_path / "range", steps[1:], data)

    # The logit is 8 * mean brightness - 0.5: levels 64 and 191 against 0 and 255, which stretching makes of them.
    assert by_window.prediction.logit == pytest.approx(8 * 0.5 - 0.5, abs=0.02)
    maps = [each.signed_map for each in (by_window, by_request, by_range)]
    assert np.ptp(maps[0]) == pytest.approx(np.ptp(maps[2]) / 2, rel=0.01)
    assert np.array_equal(maps[1], maps[2])


NETWORK = """
from torch import nn


def build(channels):
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )
"""
ONE_CHANNEL = """
[[preprocess.steps]]
step = "gray"
[[preprocess.steps]]
step = "clahe"
clip_limit = 2.0
[[preprocess.steps]]
step = "resize"
size = 48
fit = "longest"
library = "opencv"
interpolation = "area"
[[preprocess.steps]]
step = "pad"
size = [48, 48]
[[preprocess.steps]]
step = "range"
low = -1024
high = 1024
[[preprocess.steps]]
step = "per_image"
"""
FIVE_CHANNELS = """
[preprocess]
steps = [
    {step = "resize", size = 48, library = "torchvision", antialias = false},
    {step = "channels", order = [2, 1, 0, 0, 1]},
    {step = "scale"},
    {step = "normalize", mean = [0.1, 0.2, 0.3, 0.4, 0.5], std = [0.5, 0.5, 0.5, 0.5, 0.5]},
]
"""


def described(folder: Path, channels: int, steps: str) -> Path:
    (folder / f"channels_{channels}.py").write_text(NETWORK)
    path = folder / "model.toml"
    path.write_text(
        f'architecture = "channels_{channels}:build"\nweights = "seed:0"\nclasses = ["a", "b", "c"]\n'
        f'output = "softmax"\n[arguments]\nchannels = {channels}\n{steps}'
    )
    return path


def test_a_network_of_one_channel_compiles_and_explains(tmp_path: Path) -> None:
    card = compile_model(described(tmp_path, 1, ONE_CHANNEL), tmp_path / "model")

    read, _ = read_card(tmp_path / "model")
    assert read.preprocess == card.preprocess
    assert (card.preprocess.channels, card.preprocess.shape) == (1, (48, 48))
    assert card.layer().golden is not None
    for mode in ("L", "RGB"):
        image = noise((90, 60), mode)
        assert Explainer.load(tmp_path / "model").explain(image).box == (0, 0, 90, 60)
        assert preprocess(image, read.preprocess).shape == (1, 48, 48)


def test_a_network_of_five_channels_is_built_and_its_layers_are_found(tmp_path: Path) -> None:
    found = inspect_model(described(tmp_path, 5, FIVE_CHANNELS))

    assert found.described.spec.preprocess.channels == 5
    assert found.layers[-1].name == "5"
    assert preprocess(noise((90, 60)), found.described.spec.preprocess).shape == (5, 48, 48)
