"""Networks as people write them compile with a proof, or are refused in one sentence that says what to change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from heatlens.engines.openvino import OpenVinoEngine
from heatlens.errors import ModelError
from heatlens_torch.graph.cut import capture
from heatlens_torch.graph.export import export
from heatlens_torch.graph.graph_file import write_graph
from heatlens_torch.graph.layers import default_layer
from heatlens_torch.graph.probe import probe
from heatlens_torch.loading.network import build_network
from heatlens_torch.loading.spec import PROOF_INPUTS, ModelSpec
from heatlens_torch.proof import parity

SHAPE = (32, 32)
CHANNELS, CLASSES = 8, 3
IMAGES = torch.randn(PROOF_INPUTS, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
LINE = r"\(test_networks_people_write\.py:\d+\)"


class Written(nn.Module):
    """A body with a grid of 8x8, and a head; the classes below have the forward that someone wrote."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, stride=4, padding=1), nn.ReLU())
            self.head = nn.Linear(CHANNELS, classes)
            nn.init.uniform_(self.head.weight)  # so that most maps have positive evidence

    def forward(self, image: torch.Tensor) -> Any:  # noqa: ANN401 - what people return
        return self.head(self.body(image).mean((2, 3)))


def built(factory: Callable[[], nn.Module], **said: Any) -> nn.Module:  # noqa: ANN401 - fields of a description
    """Build the network that a factory of this module brings."""
    given = {
        "name": "written",
        "architecture": f"{__name__}:{factory.__name__}",
        "weights": "own",
        "classes": [f"class {index}" for index in range(CLASSES)],
        "output": "softmax",
        "preprocess": {"resize": SHAPE, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    }
    return build_network(ModelSpec.model_validate(given | said), Path()).network


def proven(network: nn.Module, folder: Path) -> str:
    """Compile a network at its default layer, and compare it with pytorch-grad-cam in batches of 1, 3 and 8."""
    layer = default_layer(network, SHAPE)
    probed = {layer: probe(network, layer, IMAGES[:2])}
    [graphs] = export(network, probed, SHAPE)
    trunk, tail = (write_graph(getattr(graphs, part), folder / f"{part}.onnx") for part in ("trunk", "tail"))
    engine = OpenVinoEngine(folder, trunk, tail)
    parity.prove(engine, network, layer, IMAGES.numpy(), probed[layer].layout)
    return layer


# ---------------------------------------------------------------------------------------------------------- compiled


class BatchInPython(Written):
    """Takes the size of the batch out of the image, before the target layer and after it, and upsamples."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        grid = self.body(image.reshape(int(image.shape[0]), 3, *SHAPE))
        rows = functional.interpolate(grid, scale_factor=2, mode="nearest").reshape(len(image), CHANNELS, -1)
        answer: torch.Tensor = self.head(rows.mean(2) + torch.zeros(len(image), CHANNELS))
        return answer


class DoubleHead(Written):
    """Computes its head in double precision."""

    def __init__(self) -> None:
        super().__init__()
        self.head.double()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.body(image).mean((2, 3)).double())
        return answer


class GateInPlace(Written):
    """Multiplies in place after a ReLU, takes an age beside the image, and returns a list in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.age = nn.Linear(1, CLASSES)
        nn.init.constant_(self.age.weight, 0.01)
        nn.init.constant_(self.age.bias, 0.1)

    def forward(self, age: torch.Tensor, image: torch.Tensor) -> Any:  # type: ignore[override]  # noqa: ANN401
        grid = self.body(image)
        grid *= torch.sigmoid(grid.mean((2, 3), keepdim=True))
        return {"scores": [self.head(grid.mean((2, 3))) + self.age(age)]}


@pytest.mark.parametrize(
    ("factory", "said", "expected"),
    [
        (BatchInPython, {}, "body"),
        (DoubleHead, {}, "body"),
        (GateInPlace, {"input_entry": "image", "constants": {"age": [63.0]}}, "body.0"),
    ],
)
def test_a_network_compiles_with_a_proof(
    factory: type[Written], said: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    assert proven(built(factory, **said), tmp_path) == expected


# ----------------------------------------------------------------------------------------------------------- refused


class Detached(Written):
    """Cuts the gradient between the grid and the logits."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.body(image).detach().mean((2, 3)))
        return answer


class WithoutGradient(Written):
    """Computes its body without a gradient."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            grid = self.body(image)
        answer: torch.Tensor = self.head(grid.mean((2, 3)))
        return answer


class Inference(Written):
    """Computes its body in inference mode."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            grid = self.body(image)
        answer: torch.Tensor = self.head(grid.mean((2, 3)))
        return answer


class Branching(Written):
    """Has two ways through its code, by what the image shows."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        means = self.body(image).mean((2, 3))
        answer: torch.Tensor = self.head(means * 2 if bool(means.max() > 1e9) else means)
        return answer


class Autocast(Written):
    """Computes in half precision whatever its weights are."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            answer: torch.Tensor = self.head(self.body(image).mean((2, 3))).float()
        return answer


class Looping(Written):
    """Goes through the images of its batch one by one."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.head(grid.mean((1, 2))) for grid in self.body(image)])


class TwoHeads(Written):
    """Answers for two tasks."""

    def forward(self, image: torch.Tensor) -> Any:  # noqa: ANN401
        logits = self.head(self.body(image).mean((2, 3)))
        return {"view": logits[:, :1], "findings": logits}


class WithAge(Written):
    """Takes more than the image."""

    def forward(self, image: torch.Tensor, age: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        answer: torch.Tensor = self.head(self.body(image).mean((2, 3)) + age)
        return answer


class Segmenting(Written):
    """Answers a map for each class."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.body(image)
        return answer


def lazy() -> nn.Module:
    """Bring a network whose head has no weights yet."""
    network = Written()
    network.head = nn.LazyLinear(CLASSES)
    return network


def build_and_capture(factory: Callable[[], nn.Module]) -> None:
    """Do what can refuse a network because of how it is written."""
    network = built(factory)
    capture(network, torch.zeros(4, 3, *SHAPE), [default_layer(network, SHAPE)])


REFUSED = [
    (Detached, rf"operator detach {LINE} lies between; compile it for maps without gradients"),
    (WithoutGradient, r"operator \w+ under no_grad\(\) .*lies between; compile it for maps without gradients"),
    (Inference, rf"Inference tensors .* {LINE}; leave out torch\.inference_mode\(\) in its code"),
    (Branching, rf"its Python code depends on the values of the image {LINE}, as `if x\.sum\(\) > 0`"),
    (Autocast, r"the network computes in bfloat16 inside: leave out autocast"),
    (Looping, rf"the network repeats an operation for each image of its batch {LINE}: take sizes"),
    (TwoHeads, r"^output_entry: missing: .*: 'view' \[2, 1\], 'findings' \[2, 3\]$"),
    (WithAge, r"its forward\(\) takes image, age: say which is the image \(input_entry\), and give constants$"),
    (Segmenting, r"^the network answers \[2, 8, 8, 8\], a map for each class"),
    (lazy, r"^architecture: its module 'head' \(LazyLinear\) is lazy and has no weights yet"),
]


@pytest.mark.parametrize(("factory", "message"), REFUSED, ids=lambda given: getattr(given, "__name__", ""))
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_a_network_is_refused_in_one_sentence_with_the_line(factory: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        build_and_capture(factory)

    assert "\n" not in str(caught.value)
