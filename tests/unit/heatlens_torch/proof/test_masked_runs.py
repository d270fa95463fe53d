import numpy as np
import pytest
import torch
from torch import nn

from heatlens.card import Tokens
from heatlens_torch.graph.grids import Layout
from heatlens_torch.proof import masked_runs

CHANNELS, HEIGHT, WIDTH = 4, 3, 2
LAYOUTS = {
    "map": Layout(CHANNELS, HEIGHT, WIDTH),
    "channels_last": Layout(CHANNELS, HEIGHT, WIDTH, Tokens(order="channels_last")),
    "rows": Layout(CHANNELS, HEIGHT, WIDTH, Tokens(order="rows", before=1, after=2)),
}


class Formed(nn.Module):
    """Returns cells in one of the forms that layers have; other tokens are the sums of all cells."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.layout.tokens is None:
            return image
        if self.layout.tokens.order == "channels_last":
            return image.permute(0, 2, 3, 1)
        cells = image.flatten(2).transpose(1, 2)
        total = cells.sum(dim=1, keepdim=True)
        return torch.cat([total, cells, 2 * total, 3 * total], dim=1)


class Network(nn.Module):
    """Logits that are not linear in the cells, and depend on the other tokens."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.head = Formed(layout), nn.Linear(CHANNELS * HEIGHT * WIDTH, 3)
        self.layout = layout

    def head_of(self, output: torch.Tensor) -> torch.Tensor:
        logits = torch.tanh(self.head(self.layout.grid(output).flatten(1)))
        if self.layout.tokens is not None and self.layout.tokens.before:
            logits = logits * output[:, 0].sum(dim=1, keepdim=True)
        return torch.as_tensor(logits)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head_of(self.layer(image))


@pytest.mark.parametrize("form", LAYOUTS)
def test_each_cell_is_a_run_with_a_mask_and_other_tokens_are_kept(form: str) -> None:
    network, images = Network(LAYOUTS[form]).eval(), np.random.default_rng(0).random((2, 4, 3, 2), dtype=np.float32)

    found = masked_runs.explain(network, "layer", images, LAYOUTS[form])

    with torch.no_grad():
        for image, logits, signed_map in zip(torch.from_numpy(images), found.logits, found.signed_map, strict=True):
            whole = network.layer(image[None])
            assert logits == pytest.approx(network(image[None])[0].numpy())
            for row in range(HEIGHT):
                for column in range(WIDTH):
                    kept = torch.zeros(HEIGHT, WIDTH)
                    for i in range(HEIGHT):
                        for j in range(WIDTH):
                            near = abs(i - row) <= 1 and abs(j - column) <= 1
                            kept[i, j] = 0.25 * 0.5 ** (abs(i - row) + abs(j - column)) if near else 0
                    changed, nothing = (network.layer((image * mask)[None]) for mask in (kept, kept * 0))
                    if form == "rows":  # the other tokens are those of the whole image
                        for other in (changed, nothing):
                            other[:, 0], other[:, -2:] = whole[:, 0], whole[:, -2:]
                    gain = network.head_of(changed) - network.head_of(nothing)
                    assert signed_map[row, column] == pytest.approx(float(gain[0, logits.argmax()]), abs=1e-6)


def test_given_selectors_are_explained() -> None:
    network, images = Network(LAYOUTS["map"]).eval(), np.random.default_rng(0).random((1, 4, 3, 2), dtype=np.float32)

    one, other, both = (
        masked_runs.explain(network, "layer", images, LAYOUTS["map"], torch.tensor([selector])).signed_map
        for selector in ([1.0, 0, 0], [0, 1.0, 0], [1.0, -1.0, 0])
    )

    assert both == pytest.approx(one - other, abs=1e-6)
