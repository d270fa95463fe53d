"""A MONAI bundle says its labels and its network; nothing in it is run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet
from monai.transforms import LoadImage
from PIL import Image

from heatlens.errors import ModelFileError
from heatlens_torch.loading.described import describe
from heatlens_torch.loading.sources import registry

NETWORK: dict[str, Any] = {
    "_target_": "DenseNet",
    "spatial_dims": 2,
    "in_channels": 3,
    "out_channels": "@classes",
    "init_features": 8,
    "growth_rate": 4,
    "block_config": [1, 1],
}
STEPS = {
    "preprocessing": {"_target_": "Compose", "transforms": [{"_target_": "LoadImaged"}, {"_target_": "Resized"}]},
    "postprocessing": {"_target_": "Compose", "transforms": [{"_target_": "Activationsd", "softmax": True}]},
}
OPTIONS = {"preprocess": "resize = [64, 64], mean = [0, 0, 0], std = [1, 1, 1]"}


def bundle(folder: Path, **network: object) -> Path:
    labels = {"0": "normal", "1": "fracture"}
    outputs = {"outputs": {"pred": {"type": "probabilities", "num_channels": 2, "channel_def": labels}}}
    (folder / "configs").mkdir()
    (folder / "models").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": outputs}))
    inference = {"imports": ["$import os"], "classes": 2, "network_def": NETWORK | network} | STEPS
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    return folder


def test_the_bundle_says_labels_output_and_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = {key: value for key, value in NETWORK.items() if not key.startswith("_")} | {"out_channels": 2}
    theirs = DenseNet(**plain).eval()
    torch.save(theirs.state_dict(), bundle(tmp_path) / "models" / "model.pt")

    found = describe(tmp_path, OPTIONS)
    network = registry.build(found.spec.architecture, found.home, dict(found.spec)).network

    assert (found.spec.classes, found.spec.output) == (("normal", "fracture"), "softmax")
    assert found.facts.notes[0] == "configs/inference.json prepares images with LoadImaged, Resized"
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(image), theirs(image))


@pytest.mark.filterwarnings("ignore")  # of MONAI's readers that lack a library
@pytest.mark.parametrize(("reading", "swaps"), [({}, True), ({"reverse_indexing": False}, False)])
def test_rows_and_columns_that_monai_swaps_are_said(tmp_path: Path, reading: dict[str, object], swaps: bool) -> None:  # noqa: FBT001
    """`LoadImaged` hands an image over with its columns first, so the network was trained on transposed images."""
    folder = bundle(tmp_path)
    (folder / "models" / "model.pt").touch()
    inference = json.loads((folder / "configs" / "inference.json").read_text())
    inference["preprocessing"]["transforms"][0] |= reading
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(tmp_path / "a.png")

    notes = describe(folder, OPTIONS).facts.notes

    assert any("swaps rows and columns" in note for note in notes) is swaps
    assert LoadImage(image_only=True, **reading)(tmp_path / "a.png").shape == ((8, 4, 3) if swaps else (4, 8, 3))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"_target_": "os.system"}, "'os.system' is not called: known are DenseNet, "),
        ({"_target_": "subprocess.DenseNet"}, "'subprocess.DenseNet' is not called"),
        ({"in_channels": "$__import__('os').getpid()"}, r"network_def\.in_channels is Python .*, which is not run"),
        ({"out_channels": "@nowhere"}, r"network_def\.out_channels is Python"),
        ({"block_config": ["$1"]}, r"network_def\.block_config is Python"),
        ({"act": {"_target_": "os.system"}}, r"network_def\.act is an object, which is not built"),
        ({"spatial_dims": 3}, r"is a network of volumes \(spatial_dims 3\)"),
    ],
)
def test_nothing_of_the_bundle_is_run(tmp_path: Path, network: dict[str, object], message: str) -> None:
    (bundle(tmp_path, **network) / "models" / "model.pt").touch()

    with pytest.raises(ModelFileError, match=f"^architecture: .*{message}"):
        describe(tmp_path, OPTIONS)


def test_a_bundle_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"has none of models/model\.pt, models/model\.safetensors$"):
        describe(bundle(tmp_path), OPTIONS)
