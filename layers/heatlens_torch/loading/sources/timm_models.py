"""`timm:FOLDER`, what timm's `save_for_hf` wrote, and `timm:NAME` with a checkpoint."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heatlens.card import Preprocess
from heatlens.errors import ModelFileError
from heatlens_torch.loading.sources.base import OWN, Facts, number_of_logits, read_json, weights_file
from heatlens_torch.loading.sources.recipe import LEVELS, Recipe

if TYPE_CHECKING:
    from heatlens_torch.loading.built_network import BuiltNetwork

CONFIG_FILE = "config.json"
WRITER = "timm's save_for_hf"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
# timm's own where a configuration says nothing (timm/data/config.py).
DEFAULTS: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}


def facts(reference: str, home: Path, given: Mapping[str, Any]) -> Facts:
    """Read a folder's configuration; of a name timm's own, and the number of its classes from the description."""
    folder = home / reference
    if folder.is_dir():
        return _of_folder(folder, given)
    found = Facts()
    if given.get("classes") and not given.get("arguments"):
        found.add("arguments", {"num_classes": number_of_logits(given)}, "the number of classes")
    if "preprocess" not in given:
        import timm

        config: Any = timm.get_pretrained_cfg(reference)
        if config is None:
            raise ModelFileError(f"architecture: timm has no network {reference!r}, and no such folder exists")
        found.add("preprocess", preprocessing(config.to_dict()), f"timm's configuration of {reference}")
    return found


def build(reference: str, home: Path, given: Mapping[str, Any]) -> "BuiltNetwork":
    """Build the network of a folder and load its weights; nothing is downloaded."""
    from heatlens_torch.loading import zoo
    from heatlens_torch.loading.built_network import BuiltNetwork
    from heatlens_torch.loading.checkpoints import load_weights, read_checkpoint

    folder = home / reference
    if not folder.is_dir():
        raise ModelFileError(f"weights: timm:{reference} is a name, which brings none: --weights FILE")
    config = read_json(folder / CONFIG_FILE)
    weights = folder / weights_file(folder, WEIGHT_FILES, WRITER)
    checkpoint = read_checkpoint(weights, sha256=given.get("sha256"))
    arguments = {"num_classes": config.get("num_classes")} | (config.get("model_args") or {})
    network = zoo.build(f"timm:{config.get('architecture')}", arguments)
    load_weights(network, checkpoint, name=weights.name)
    return BuiltNetwork(network, {}, {"weights": weights.name, "weights_sha256": checkpoint.sha256})


def preprocessing(config: Mapping[str, Any]) -> Preprocess:
    """Write timm's `transforms_imagenet_eval` as a recipe: Pillow resizes, mostly bicubic.

    Raises:
        ModelFileError: A crop mode that timm had not at 1.0.31.
    """
    known = DEFAULTS | {key: value for key, value in config.items() if key in DEFAULTS and value is not None}
    _, height, width = known["input_size"]
    scaled = [math.floor(side / known["crop_pct"]) for side in (height, width)]
    resize, pad = _geometry(str(known["crop_mode"]), scaled, known["mean"])
    cropped = scaled != [height, width] or resize["fit"] != "exact"
    return Recipe(
        resize=resize | {"interpolation": known["interpolation"], "library": "pillow"},
        pad=pad,
        crop={"size": [height, width]} if cropped else None,
        mean=known["mean"],
        std=known["std"],
    ).preprocess()


def _geometry(mode: str, scaled: list[int], mean: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:  # noqa: ANN401
    if mode == "squash":
        return {"size": scaled, "fit": "exact"}, None
    if mode == "border":
        fill = [round(LEVELS * each) for each in mean]
        return {"size": scaled, "fit": "longest", "rounding": "nearest"}, {"size": scaled, "fill": fill}
    if mode != "center":
        raise ModelFileError(f"preprocess: timm's crop mode {mode!r} is not known here: say it yourself (--preprocess)")
    if scaled[0] == scaled[1]:
        return {"size": scaled[0], "fit": "shortest"}, None
    return {"size": scaled, "fit": "shortest", "rounding": "nearest"}, None


def _of_folder(folder: Path, given: Mapping[str, Any]) -> Facts:
    config = read_json(folder / CONFIG_FILE)
    found = Facts()
    found.add("weights", OWN, weights_file(folder, WEIGHT_FILES, WRITER))
    labels = config.get("label_names")
    found.add("classes", list(labels) if isinstance(labels, list) else None, f"{CONFIG_FILE} label_names")
    if config.get("num_classes", 0) > 1:
        found.add("output", "softmax", "timm's loss where nothing else is said")
    if "preprocess" not in given:
        place = f"{CONFIG_FILE} pretrained_cfg"
        found.add("preprocess", preprocessing(config.get("pretrained_cfg") or config), place)
    return found
