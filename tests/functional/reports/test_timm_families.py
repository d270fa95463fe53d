"""Networks of timm as their owners inspect them: a list of layers, and no traceback."""

from pathlib import Path
from typing import Any

import pytest

from heatlens_torch.inspection import inspect_model

# XCiT, EdgeNeXt, ConViT and SigLIP have modules whose answer does not depend on the image.
NETWORKS: dict[str, dict[str, Any]] = {
    "test_byobnet": {},
    "test_coatnet": {"img_size": 64},
    "test_convnext": {},
    "test_efficientnet": {},
    "test_mambaout": {},
    "test_maxvit": {"img_size": 64},
    "test_nfnet": {},
    "test_vit": {"img_size": 64},
    "convit_tiny": {"img_size": 64, "depth": 2, "local_up_to_layer": 1},
    "edgenext_xx_small": {"depths": [2, 2, 2, 2]},
    "vit_base_patch16_siglip_224": {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 3},
    "xcit_nano_12_p16_224": {"depth": 2},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_timm_is_inspected(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text(
        f'architecture = "timm:{name}"\nweights = "seed:0"\nclasses = ["a", "b", "c"]\noutput = "softmax"\n'
        "preprocess = { resize = [64, 64], mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }\n"
    )

    found = inspect_model(path, {"arguments": {"num_classes": 3} | NETWORKS[name]})

    assert found.layers
    assert all(each.reason for each in found.passed)
    height, width = found.layers[-1].shape[1:]
    assert height == width > 1
