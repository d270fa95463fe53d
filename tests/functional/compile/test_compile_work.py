"""How often a compile runs the network, on how many images at once, and how often it traces it."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from heatlens.card import read_card
from heatlens_torch import batch_size
from heatlens_torch.compile import compile_model
from heatlens_torch.graph import places
from heatlens_torch.loading import synthetic

PIXELS = 48
PROOF = [2, 3, 8, 2, 3, 8, 2, 3, 4]  # 32 images in batches of 1, 3 and 8; one alone is explained beside a copy

passes: list[int] = []


class Counted(nn.Module):
    """Three convolutions, a head, and a note of each pass over real images."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, widened in ((3, 8), (8, 12), (12, 16)):
            layers += [nn.Conv2d(channels, widened, 3, 2, 1), nn.BatchNorm2d(widened), nn.ReLU()]
        self.features, self.head = nn.Sequential(*layers), nn.Linear(16, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting():
            passes.append(len(image))
        logits: torch.Tensor = self.head(self.features(image).mean(dim=(2, 3)))
        return logits


def describe(folder: Path, *, pixels: int = PIXELS) -> Path:
    path = folder / "model.toml"
    path.write_text(f"""\
name = "counted"
version = "1"
architecture = "{__name__}:Counted"
weights = "seed:7"
classes = ["a", "b", "c"]
output = "softmax"
[preprocess]
resize = [{pixels}, {pixels}]
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
""")
    return path


def compile_counted(folder: Path, *, pixels: int = PIXELS) -> dict[str, list[int]]:
    """Compile the network, and return the images of each of its passes by stage."""
    by_stage: dict[str, list[int]] = {}
    stage = "describing"

    def begin(following: str) -> None:
        nonlocal stage
        by_stage[stage], stage = passes.copy(), following
        passes.clear()

    passes.clear()
    compile_model(describe(folder, pixels=pixels), folder / "model", progress=begin)
    begin("")
    return by_stage


def counted(patch: pytest.MonkeyPatch, owner: object, name: str, calls: Counter[str]) -> None:
    """Count the calls of a function that stays as it is."""
    function = getattr(owner, name)

    def count(*args: object, **options: object) -> object:
        calls[name] += 1
        return function(*args, **options)

    patch.setattr(owner, name, count)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[int]], Counter[str]]:
    calls: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        counted(patch, torch.export.ExportedProgram, "run_decompositions", calls)
        counted(patch, torch.onnx, "export", calls)
        counted(patch, places, "following", calls)
        return compile_counted(tmp_path_factory.mktemp("work")), calls


def test_the_reference_runs_the_network_once_for_each_batch(work: tuple[dict[str, list[int]], Counter[str]]) -> None:
    assert work[0]["comparing with pytorch-grad-cam"] == PROOF


def test_random_weights_are_compared_with_the_maps_of_the_proof(
    work: tuple[dict[str, list[int]], Counter[str]],
) -> None:
    """The order of the layers, then a map for each of three stages, two of which have statistics to settle."""
    assert work[0]["comparing with random weights"] == [2, *[8] * (3 + 2)]


def test_exporting_runs_no_images_and_traces_each_part_once(work: tuple[dict[str, list[int]], Counter[str]]) -> None:
    """The capture is decomposed, and each part again for its conversion."""
    assert work[0]["exporting, cut at features"] == []
    assert work[1]["export"] == 2
    assert work[1]["run_decompositions"] == 3


def test_places_of_the_default_layer_are_measured_once(work: tuple[dict[str, list[int]], Counter[str]]) -> None:
    assert work[1]["following"] == 1
    assert work[0]["building the network"][-6:] == [9, 9, 9, 9, 2, 2]


def test_large_images_run_in_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many pixels as two images have are what a batch may have of images of 1024x1024."""
    monkeypatch.setattr(batch_size, "PIXELS", 2 * PIXELS * PIXELS)
    passes_of = compile_counted(tmp_path)
    card, _ = read_card(tmp_path / "model")

    assert max(map(max, filter(None, passes_of.values()))) <= 4
    assert passes_of["comparing with pytorch-grad-cam"] == [2] * 22, "batches of 1, beside a copy, and 2"
    assert passes_of["comparing with random weights"] == [2] * (1 + 4 * (3 + 2))
    layer = card.layer()
    assert layer.parity is not None
    assert layer.cost is not None
    assert (layer.parity.inputs, layer.cost.batch) == (32, 2)


def test_images_to_replace_others_are_made_where_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, int]] = []
    draw = synthetic.images

    def noted(count: int, *, size: tuple[int, int], seed: int = 0, start: int = 0) -> object:
        drawn.append((start, count))
        return draw(count, size=size, seed=seed, start=start)

    monkeypatch.setattr(synthetic, "images", noted)
    compile_counted(tmp_path)

    assert drawn == [(0, 32), (0, 2), (0, 32)], "to settle, to probe, to prove"
