"""Training the demonstration model is reproducible and learns; the committed weights classify and point."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load

from heatlens_torch.demo.evaluate import Scorer, auc, distance_to, evaluate
from heatlens_torch.demo.losses import map_loss
from heatlens_torch.demo.network import DemoNet, build
from heatlens_torch.demo.phantoms import SAMPLE_SEEDS
from heatlens_torch.demo.pixels import SIZE, normalized, resized
from heatlens_torch.demo.pool import GRID, draw_pool
from heatlens_torch.demo.samples import write_samples
from heatlens_torch.demo.signed_map import signed_map
from heatlens_torch.demo.train import torch_scorer, train

DEMO = files("heatlens_torch.demo")
SAMPLES = Path(__file__).parents[3] / "layers/heatlens_web/static/samples"
# Left, top, right, bottom; the opacity's box may end this far from where another machine's rounding puts it.
BOX_TOLERANCE_PX = 1


@pytest.fixture(scope="module")
def score() -> Scorer:
    """The committed weights, executed by PyTorch."""
    network = DemoNet()
    network.load_state_dict(load((DEMO / "weights.safetensors").read_bytes()))
    return torch_scorer(network)


def test_same_seed_same_losses_other_seed_other_losses() -> None:
    first, again, other = (train(seed=seed, steps=3, batch=4, threads=1)[1]["history"] for seed in (11, 11, 12))
    assert first == again
    assert first["class"] != other["class"]
    assert [len(losses) for losses in first.values()] == [3, 3]


def test_training_leaves_the_process_as_it_was() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    train(seed=1, steps=1, batch=2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[1:]


def test_a_short_training_learns_to_classify_and_to_point() -> None:
    network, record = train(seed=3, steps=80, batch=16, threads=1)
    measured = evaluate(torch_scorer(network), count=100)
    # Seeds 1, 2, 3 reached AUC 0.81 to 0.86, pointing 0.76 to 0.94; chance is 0.5 (standard error 0.06) and below 0.15.
    assert measured["auc"] > 0.7
    assert measured["pointing_tolerance"] > 0.5
    assert record["images_seen"] == 1280


def test_training_writes_weights_and_record(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "heatlens_torch.demo.train", "-o", str(tmp_path), "--steps", "2", "--batch", "2"]
    subprocess.run(command, check=True)
    record = json.loads((tmp_path / "training.json").read_text("utf-8"))
    assert set(load((tmp_path / "weights.safetensors").read_bytes())) == set(DemoNet().state_dict())
    assert set(record) == set(json.loads((DEMO / "training.json").read_text("utf-8")))
    assert (record["steps"], record["images_seen"]) == (2, 4)


def test_committed_weights_classify_and_point(score: Scorer) -> None:
    measured = evaluate(score, count=120)
    assert measured["auc"] >= 0.98
    assert measured["accuracy"] >= 0.95
    assert measured["pointing_strict"] >= 0.75
    assert measured["pointing_tolerance"] >= 0.85


def test_the_evaluation_notices_a_negated_map(score: Scorer) -> None:
    def turned(images: list[Image.Image]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        logits, maps = score(images)
        return -logits, maps[:, :, ::-1]

    measured = evaluate(turned, count=32)
    assert measured["auc"] < 0.1
    assert measured["pointing_tolerance"] < 0.3


def test_committed_samples_are_classified_and_pointed_at(score: Scorer) -> None:
    for sample in _listed():
        image = _eight_bits(Image.open(SAMPLES / sample["file"]))
        logits, maps = score([image])
        assert bool(logits[0] > 0) == (sample["label"] == "OPACITY"), sample["file"]
        if sample["box"]:
            column, row = _hottest(maps[0], image.size)
            left, top, right, bottom = sample["box"]
            assert left <= column < right, sample["file"]
            assert top <= row < bottom, sample["file"]


def test_committed_samples_are_what_the_generator_writes(tmp_path: Path) -> None:
    fresh_folder = tmp_path / "samples"
    written = write_samples(fresh_folder)
    for committed, fresh in zip(_listed(), written, strict=True):
        boxes = np.array([committed.pop("box") or 0, fresh.pop("box") or 0])
        assert np.abs(boxes[0] - boxes[1]).max() <= BOX_TOLERANCE_PX
        assert committed == fresh
        assert fresh["seed"] in SAMPLE_SEEDS
        images = [np.asarray(Image.open(folder / fresh["file"])).astype(float) for folder in (SAMPLES, fresh_folder)]
        assert images[0].shape[::-1] == tuple(fresh["size"])
        assert np.abs(images[0] - images[1]).max() <= 0.01 * images[0].max()


def test_samples_are_small() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == {it["file"] for it in _listed()} | {"samples.json"}
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 4 * 2**20


def test_model_file_points_at_what_exists() -> None:
    model = tomllib.loads((DEMO / "model.toml").read_text("utf-8"))
    module, factory = model["architecture"].split(":")
    assert getattr(import_module(module), factory) is build
    module, function = model["inputs"].split(":")
    assert len(getattr(import_module(module), function)(1)) == 1
    assert model["preprocess"]["resize"] == [SIZE, SIZE]
    assert (DEMO / model["weights"]).is_file()
    assert model["layer"] in dict(build().named_children())


def test_network_has_the_promised_shape() -> None:
    network = DemoNet().eval()
    activations = network.features(torch.zeros(2, 3, SIZE, SIZE))
    assert activations.shape == (2, 96, 20, 20)
    assert network(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, 1)
    assert activations.min() >= 0
    assert 0.40e6 < sum(weights.numel() for weights in network.parameters()) < 0.46e6
    assert not any(module.inplace for module in network.modules() if isinstance(module, torch.nn.ReLU))


def test_signed_map_equals_grad_cam_by_autograd() -> None:
    torch.manual_seed(0)
    network = DemoNet().eval()
    images = torch.randn(2, 3, SIZE, SIZE)
    activations = network.features(images).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.classifier(activations).sum(), activations)
    expected = (gradient.mean((2, 3), keepdim=True) * activations).sum(1)
    for differentiable in (False, True):
        logits, maps = signed_map(network, images, differentiable=differentiable)
        torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-9)
        torch.testing.assert_close(logits, network(images)[:, 0])


def test_map_loss_prefers_heat_on_the_opacity() -> None:
    coverage = torch.zeros(1, GRID, GRID)
    coverage[0, 4:8, 4:8] = 1
    right = (coverage - 0.5) / 40
    assert map_loss(right, coverage) < map_loss(torch.zeros_like(right), coverage) < map_loss(-right, coverage)


def test_pool_keeps_truth_and_label_together_and_repeats_itself() -> None:
    pool = draw_pool(24, seed=5)
    assert pool.pixels.shape == (24, SIZE, SIZE, 3)
    assert ((pool.coverage.max((1, 2)) > 0.5) == (pool.labels == 1)).all()
    assert 0 < pool.labels.sum() < 24
    np.testing.assert_array_equal(pool.pixels, draw_pool(24, seed=5).pixels)


def test_pixels_are_resized_and_normalized() -> None:
    pixels = resized(Image.new("L", (50, 70), 153))
    tensor = normalized(pixels[None])
    assert tensor.shape == (1, 3, SIZE, SIZE)
    torch.testing.assert_close(tensor, torch.full_like(tensor, (0.6 - 0.45) / 0.2))


def test_auc_by_ranks_is_auc_by_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 60).astype(np.float32), rng.random(60) < 0.4
    differences = scores[labels][:, None] - scores[~labels][None, :]
    assert auc(scores, labels) == pytest.approx(((differences > 0) + 0.5 * (differences == 0)).mean())


def test_distance_is_euclidean_and_infinite_without_heat() -> None:
    mask = np.zeros((40, 40), dtype=np.bool_)
    mask[10:14, 10:14] = True
    for row, column, distance in ((12, 12, 0), (16, 17, 5), (13, 30, 17)):
        heat = np.full((40, 40), -1, dtype=np.float32)
        heat[row, column] = 1
        assert distance_to(mask, heat) == distance
    assert distance_to(mask, np.full((8, 8), -1, dtype=np.float32)) == float("inf")


def _listed() -> list[dict[str, Any]]:
    listing: list[dict[str, Any]] = json.loads((SAMPLES / "samples.json").read_text("utf-8"))["samples"]
    return listing


def _eight_bits(image: Image.Image) -> Image.Image:
    """Map 16-bit greys linearly from their own minimum to maximum, as the service does."""
    if image.mode != "I;16":
        return image
    counts = np.asarray(image).astype(np.float32)
    scaled = (counts - counts.min()) / (counts.max() - counts.min())
    return Image.fromarray(np.rint(scaled * 255).astype(np.uint8))


def _hottest(signed_map: np.ndarray[Any, Any], size: tuple[int, int]) -> tuple[float, float]:
    """Return the center of the hottest cell, column and row in the image's pixels."""
    row, column = np.unravel_index(signed_map.argmax(), signed_map.shape)
    return (column + 0.5) / signed_map.shape[1] * size[0], (row + 0.5) / signed_map.shape[0] * size[1]
