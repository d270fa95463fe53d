"""Folders as transformers and timm save them, of small networks with seeded weights."""

import json
from pathlib import Path
from typing import Any

import torch

PIXELS = 64


def save_transformers(folder: Path, *, processor: dict[str, Any] | None = None, **config: object) -> None:
    """Save a ResNet of three classes with `save_pretrained`, and the fields of an image processor."""
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    labels = {"id2label": {0: "cat", 1: "dog", 2: "bird"}, "label2id": {"cat": 0, "dog": 1, "bird": 2}}
    torch.manual_seed(0)
    network = ResNetForImageClassification(ResNetConfig(**(sizes | labels | config)))
    network.save_pretrained(folder)
    size = {"size": {"height": PIXELS, "width": PIXELS}}
    fields = {"image_processor_type": "ViTImageProcessor", "resample": 2} | size | (processor or {})
    (folder / "preprocessor_config.json").write_text(json.dumps(fields))


def edit(path: Path, **fields: object) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def save_timm(folder: Path, *, safe: bool = True, **config: Any) -> Any:  # noqa: ANN401 - timm is untyped
    """Save a small ResNet with timm's `save_for_hf`, and return it."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", pretrained=False, num_classes=3).eval()
    timm.models.save_for_hf(network, str(folder), {"num_classes": 3} | config, safe_serialization=safe)
    return network
