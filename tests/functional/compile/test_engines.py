"""A network that OpenVINO refuses compiles for ONNX Runtime, and says so."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from heatlens.card import Card, read_card
from heatlens.errors import CompileError, EngineError
from heatlens.model import load_model
from heatlens_torch.compile import compile_model

PIXELS = 32
OPTIONS = {
    "architecture": f"{__name__}:Deformed",
    "weights": "seed:0",
    "classes": ["a", "b", "c"],
    "output": "softmax",
    "layer": "features",
    "preprocess": {"resize": [PIXELS, PIXELS], "mean": [0.5] * 3, "std": [0.25] * 3},
}


class Deformed(nn.Module):
    """Has a deformable convolution before its target layer, which OpenVINO cannot read with a dynamic batch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.offsets = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 18, 3, padding=1)
        self.deform = torchvision.ops.DeformConv2d(8, 8, 3, padding=1)
        self.features = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        cells = self.stem(image)
        logits: torch.Tensor = self.head(self.features(self.deform(cells, self.offsets(cells))).mean((2, 3)))
        return logits


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Card, list[str]]:
    folder, stages = tmp_path_factory.mktemp("engines"), list[str]()
    (folder / "model.toml").touch()
    compile_model(folder / "model.toml", folder / "out", options=OPTIONS, progress=stages.append)
    return folder / "out", read_card(folder / "out")[0], stages


@pytest.mark.filterwarnings("ignore:The tensor attributes")
def test_it_is_proven_in_onnx_runtime(compiled: tuple[Path, Card, list[str]]) -> None:
    _, card, stages = compiled

    assert card.parity.largest <= 1e-4
    words = card.refused_by["openvino"]
    assert words.startswith("OpenVINO cannot compile trunk.onnx, the network up to 'features': ")
    assert words.endswith("(it has the operator DeformConv)")
    assert f"taking ONNX Runtime: {words}" in stages


def test_a_server_loads_it_with_onnx_runtime(compiled: tuple[Path, Card, list[str]]) -> None:
    model = load_model(compiled[0])

    assert (model.engine.name, model.golden.status) == ("onnxruntime", "passed")


def test_the_engine_that_refused_is_named_where_it_is_asked_for(compiled: tuple[Path, Card, list[str]]) -> None:
    with pytest.raises(EngineError, match=r"openvino cannot run .*, use another engine: OpenVINO cannot compile trunk"):
        load_model(compiled[0], engine="openvino")


def test_it_has_no_trunk_of_8_bits(tmp_path: Path) -> None:
    (tmp_path / "model.toml").touch()

    with pytest.raises(CompileError, match="an 8-bit trunk runs in OpenVINO alone: leave out --int8"):
        compile_model(tmp_path / "model.toml", tmp_path / "out", options=OPTIONS, int8=True)
