"""Train the demonstration model from a seed, and record the training."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from heatlens_torch.demo.evaluate import Scorer
from heatlens_torch.demo.losses import MAP_WEIGHT, class_loss, map_loss
from heatlens_torch.demo.network import DemoNet
from heatlens_torch.demo.pixels import normalized, resized
from heatlens_torch.demo.pool import Pool, draw_pool
from heatlens_torch.demo.signed_map import signed_map

DEFAULT_SEED, DEFAULT_STEPS, DEFAULT_BATCH = 7, 400, 32

_PEAK_RATE = 3e-3
_WEIGHT_DECAY = 1e-3
_USES_PER_EXAMPLE = 2


def train(
    *, seed: int = DEFAULT_SEED, steps: int = DEFAULT_STEPS, batch: int = DEFAULT_BATCH, threads: int = 2
) -> tuple[DemoNet, dict[str, Any]]:
    """Train a fresh network on freshly drawn phantoms.

    Args:
        seed: fixes phantoms, initial weights, order and dropout.
        steps: optimizer steps.
        batch: images per step.
        threads: processor threads of PyTorch; sums are rounded differently with another number.

    Returns:
        The network in evaluation mode, and the record: arguments, seconds, versions, and losses by name, at the end
        (mean of the last 20 steps) and as `history` at every step.
    """
    started = time.perf_counter()
    with _reproducible(seed, threads):
        pool = draw_pool(-(-steps * batch // _USES_PER_EXAMPLE), seed=seed)
        network = DemoNet()
        history = _fit(network, pool, steps=steps, batch=batch, seed=seed)
    record = {
        "seed": seed,
        "steps": steps,
        "batch": batch,
        "threads": threads,
        "images_seen": steps * batch,
        "images_drawn": len(pool.labels),
        "seconds": round(time.perf_counter() - started, 1),
        "losses": {
            "class": "binary cross-entropy of the logit",
            "map": "binary cross-entropy of the signed Grad-CAM map against the opacity mask, and a price on contrary "
            "evidence beside an opacity, auxiliary",
        },
        "map_weight": MAP_WEIGHT,
        "final_losses": {name: round(float(np.mean(values[-20:])), 5) for name, values in history.items()},
        "history": history,
        "torch": torch.__version__,
    }
    return network.eval().to(memory_format=torch.contiguous_format), record


def torch_scorer(network: DemoNet) -> Scorer:
    """Make a scorer of the network itself, for `evaluate` before a compiled model exists."""

    def score(images: list[Image.Image]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        pixels = normalized(np.stack([resized(image) for image in images]))
        logits, maps = signed_map(network.eval(), pixels, differentiable=False)
        return logits.detach().numpy(), maps.detach().numpy()

    return score


@contextmanager
def _reproducible(seed: int, threads: int) -> Iterator[None]:
    """Fix the settings that the bits of a training depend on, and restore them afterwards."""
    threads_before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(mode=True)
        try:
            yield
        finally:
            torch.set_num_threads(threads_before)
            torch.use_deterministic_algorithms(mode=strict)


def _fit(network: DemoNet, pool: Pool, *, steps: int, batch: int, seed: int) -> dict[str, list[float]]:
    network.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_PEAK_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_RATE, total_steps=steps, pct_start=0.2)
    history: dict[str, list[float]] = {"class": [], "map": []}
    for picked in _batches(len(pool.labels), steps=steps, batch=batch, seed=seed):
        losses = _losses(network, pool, picked)
        optimizer.zero_grad()
        torch.autograd.backward(losses["class"] + MAP_WEIGHT * losses["map"])
        optimizer.step()
        schedule.step()
        for name, loss in losses.items():
            history[name].append(round(loss.item(), 6))
    return history


def _losses(network: DemoNet, pool: Pool, picked: NDArray[np.int64]) -> dict[str, Tensor]:
    images = normalized(pool.pixels[picked]).contiguous(memory_format=torch.channels_last)
    logits, maps = signed_map(network, images, differentiable=True)
    return {
        "class": class_loss(logits, torch.from_numpy(pool.labels[picked])),
        "map": map_loss(maps, torch.from_numpy(pool.coverage[picked])),
    }


def _batches(count: int, *, steps: int, batch: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Walk through the examples in a fresh order each time, `steps` batches in all."""
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(count) for _ in range(-(-steps * batch // count))])
    for step in range(steps):
        yield order[step * batch : (step + 1) * batch]


def main() -> None:
    """Write weights.safetensors and training.json into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write into")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS)
    parser.add_argument("--batch", type=int, default=DEFAULT_BATCH)
    arguments = parser.parse_args()
    network, record = train(seed=arguments.seed, steps=arguments.steps, batch=arguments.batch)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "weights.safetensors").write_bytes(save(network.state_dict()))
    del record["history"]
    (arguments.output / "training.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
