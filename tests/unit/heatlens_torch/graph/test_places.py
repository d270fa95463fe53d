"""Whether cells are places of the image: on made-up responses, and on the architectures of PARITY.md."""

import pytest
import torch
from torch import nn

from heatlens.card import Tokens
from heatlens_torch.graph.grids import Layout
from heatlens_torch.graph.layers import default_layer
from heatlens_torch.graph.places import LEAST_SHARE, LOCAL, Places, compare, following, measure
from heatlens_torch.graph.probe import probe
from heatlens_torch.loading import synthetic, zoo

SPREAD = [(row, column) for row in (1, 3, 5, 7) for column in (1, 3, 5, 7)]
MAP, ROWS = Layout(8, 8, 8), Layout(8, 8, 8, Tokens(order="rows"))


def bumps(places: list[tuple[int, int]], width: float = 1.0) -> torch.Tensor:
    """Responses `[1,places,8,8]` that decay with the distance from each place."""
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    return torch.stack(
        [torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2)) for row, column in places]
    )[None]


def test_a_response_at_the_disturbed_cells_is_whole() -> None:
    seen = compare(bumps(SPREAD), SPREAD)

    assert seen.share == pytest.approx(1, abs=0.01)
    assert seen.contrast > 3
    assert seen.follow(MAP)
    assert seen.follow(ROWS)


def test_neither_a_cell_that_always_changes_nor_a_change_of_all_cells_matters() -> None:
    loud, everywhere = torch.ones(8, 8), torch.ones(16)
    loud[0, 0], everywhere[3] = 5, 20
    changed = bumps(SPREAD, 2) * loud * everywhere[None, :, None, None]

    assert compare(changed, SPREAD).share > 0.7


@pytest.mark.parametrize(
    "places",
    [
        [(column, row) for row, column in SPREAD],
        [(row, 8 - column) for row, column in SPREAD],
        [(8 - row, column) for row, column in SPREAD],
        [((row + 4) % 8, (column + 4) % 8) for row, column in SPREAD],
        [(row, (column + 3) % 8) for row, column in SPREAD],
        SPREAD[5:] + SPREAD[:5],
    ],
    ids=["transposed", "flipped", "upside down", "shifted", "shifted sideways", "permuted"],
)
@pytest.mark.parametrize("width", [0.7, 1.5])
def test_a_response_elsewhere_is_no_place(places: list[tuple[int, int]], width: float) -> None:
    seen = compare(bumps(places, width), SPREAD)

    assert seen.share < LEAST_SHARE["map"]
    assert not seen.follow(MAP)


def test_a_response_along_a_row_or_a_column_is_no_place() -> None:
    """So attention matrices answer: a token is a row and a column, and rows follow the image's rows."""
    rows = torch.full((1, 16, 8, 8), 0.1)
    for index, (row, _) in enumerate(SPREAD):
        rows[0, index, row] = 1

    assert compare(rows, SPREAD).share == pytest.approx(0, abs=1e-6)
    assert compare(rows.transpose(2, 3), SPREAD).share == pytest.approx(0, abs=1e-6)


def test_cells_that_all_see_the_whole_image_pass_as_a_map_and_never_as_tokens() -> None:
    vague = Places(share=0.1, contrast=LOCAL / 2)

    assert vague.follow(MAP)
    assert not vague.follow(ROWS)
    assert not Places(share=0.1, contrast=LOCAL * 2).follow(MAP)


def test_one_cell_is_the_whole_image() -> None:
    assert compare(torch.ones(2, 1, 1, 1), [(0, 0)]).share == 1


class Windowed(nn.Module):
    """Tokens that are listed window by window, as inside a transformer with shifted windows."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 6, stride=6)
        self.tokens = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        windows = self.patches(image).unflatten(3, (2, 4)).unflatten(2, (2, 4)).transpose(3, 4)
        logits: torch.Tensor = self.head(torch.tanh(self.tokens(windows.flatten(2).transpose(1, 2))).mean(dim=1))
        return logits


def test_tokens_in_the_order_of_windows_are_no_rows() -> None:
    torch.manual_seed(0)
    network = Windowed().eval()
    images = torch.randn(2, 3, 48, 48)

    assert not measure(network, "tokens", ROWS, images).follow(ROWS)
    assert following(network, {"tokens": [ROWS], "patches": [MAP]}, images) == {"tokens": None, "patches": MAP}


@pytest.mark.parametrize(
    ("name", "arguments", "last", "others"),
    [
        ("resnet18", {}, "layer4", ["layer3", "layer2"]),
        ("efficientnet_b0", {}, "features", ["features.5"]),
        ("convnext_tiny", {}, "features", ["features.5"]),
        ("mobilenet_v3_small", {}, "features", ["features.8"]),
        ("swin_t", {}, "permute", ["features.3"]),
        ("vit_b_16", {"image_size": 64}, "encoder.layers.encoder_layer_11.ln_1", ["conv_proj"]),
    ],
)
def test_networks_in_use_are_explained_where_they_were(
    name: str, arguments: dict[str, int], last: str, others: list[str]
) -> None:
    """On 64 pixels their last cells see the whole image; strides and padding shift the others by half a cell."""
    torch.manual_seed(0)
    network = zoo.build(f"torchvision:{name}", dict(arguments))
    images = torch.randn(34, 3, 64, 64)
    synthetic.settle(network, list(images[2:].chunk(2)))

    assert default_layer(network, (64, 64)) == last
    for layer in (last, *others):
        assert probe(network, layer, images[:2]).shape[0] > 1
