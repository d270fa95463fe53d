"""pytorch-grad-cam explains one image as it does in a batch, in one run, also where torch differentiates wrongly."""

import pytest
import torch
from torch import nn

from heatlens.card import Tokens
from heatlens_torch.graph.grids import Layout
from heatlens_torch.graph.selector import predicted_classes
from heatlens_torch.proof import reference

CHANNELS, SIDE = 4, 4
LAYOUT = Layout(CHANNELS, SIDE, SIDE, Tokens(order="rows"))


class Projected(nn.Module):
    """Normalizes tokens as a map, as CvT does."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.tokens = nn.Conv2d(3, CHANNELS, 4, stride=4), nn.LayerNorm(CHANNELS)
        self.norm, self.head = nn.BatchNorm2d(CHANNELS), nn.Linear(CHANNELS * SIDE * SIDE, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.tokens(self.cut(image).flatten(2).transpose(1, 2))
        cells = self.norm(tokens.permute(0, 2, 1).view(len(image), CHANNELS, SIDE, SIDE))
        logits: torch.Tensor = self.head(cells.flatten(1))
        return logits


def network() -> Projected:
    torch.manual_seed(0)
    return Projected().eval()


def gradient(built: nn.Module, images: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    handle = built.get_submodule("tokens").register_forward_hook(lambda _module, _input, output: seen.append(output))
    logits = built(images)
    handle.remove()
    [found] = torch.autograd.grad(logits[:, 1].sum(), seen)
    return found


def test_one_image_is_explained_as_in_a_batch() -> None:
    built, images = network(), torch.randn(3, 3, 16, 16)
    wrong = gradient(built, images[:1])
    right = gradient(built, images)[:1]
    assert (wrong - right).abs().max() > 0.1 * right.abs().max(), "else the copy in proof/reference.py can go"

    alone = reference.explain(built, "tokens", images[:1], [1], layout=LAYOUT)
    together = reference.explain(built, "tokens", images, [1, 1, 1], layout=LAYOUT)

    assert torch.allclose(torch.from_numpy(alone.gradient), LAYOUT.grid(right), atol=1e-6)
    for name in ("logits", "gradient", "signed_map", "heat"):
        one, all_ = (torch.from_numpy(getattr(each, name)) for each in (alone, together))
        assert torch.allclose(one, all_[:1], atol=1e-6), name
        assert len(one) == 1


def test_the_combined_map_of_one_image_is_that_in_a_batch() -> None:
    built, images = network(), torch.randn(3, 3, 16, 16)
    layouts = {"tokens": LAYOUT, "cut": Layout(CHANNELS, SIDE, SIDE)}

    alone, together = (reference.combined(built, layouts, each) for each in (images[:1], images))

    assert torch.allclose(torch.from_numpy(alone), torch.from_numpy(together[:1]), atol=1e-5)


@pytest.mark.parametrize("logits", [1, 3])
def test_the_predicted_class_is_explained_in_one_run(logits: int) -> None:
    built, images, runs = network(), torch.randn(5, 3, 16, 16), []
    built.head = nn.Linear(CHANNELS * SIDE * SIDE, logits)
    with torch.no_grad():
        predicted = predicted_classes(built(images))
    named = reference.explain(built, "tokens", images, predicted, layout=LAYOUT)
    built.register_forward_hook(lambda *_: runs.append(1))

    found = reference.explain(built, "tokens", images, layout=LAYOUT)

    assert len(runs) == 1
    assert len(set(predicted)) > 1
    assert (found.signed_map == named.signed_map).all()
    reference.combined(built, {"tokens": LAYOUT, "cut": Layout(CHANNELS, SIDE, SIDE)}, images)
    assert len(runs) == 2
