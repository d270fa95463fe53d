"""Which modules are offered as layers, which are passed over and why, and which layer a name means."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from heatlens.errors import CompileError
from heatlens_torch.graph import layers
from heatlens_torch.graph.export import export
from heatlens_torch.graph.layers import default_layer, resolve, survey
from heatlens_torch.graph.probe import probe

SIDE = 32


def head(width: int = 8) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)]


def stem() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.ReLU())


class Contiguous(nn.Module):
    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value.contiguous()


PASSING = {"identity": nn.Identity(), "dropout": nn.Dropout2d(), "contiguous": Contiguous()}


@pytest.mark.parametrize("kind", PASSING)
def test_a_module_that_returns_its_input_is_no_layer_and_its_name_means_the_maker(kind: str) -> None:
    network = nn.Sequential(stem(), PASSING[kind], *head()).eval()

    candidates, passed = survey(network, (SIDE, SIDE))

    assert [each.name for each in candidates] == ["0.0", "0"]
    assert [(each.name, each.reason) for each in passed] == [("1", "it returns the output of '0'")]
    assert default_layer(network, (SIDE, SIDE)) == "0"
    assert resolve(network, "1", (SIDE, SIDE)) == "0"
    assert resolve(network, "0.0", (SIDE, SIDE)) == "0.0"


class Functional(nn.Module):
    """A module without an operation, whose input is made by a function."""

    def __init__(self, end: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.end, self.linear = nn.Conv2d(3, 8, 5, stride=4, padding=2), end, nn.Linear(8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(self.end(torch.relu(self.conv(image))).mean(dim=(2, 3)))
        return logits


@pytest.mark.parametrize("viewing", [nn.Identity(), nn.Dropout2d(), Contiguous(), nn.Flatten(3), nn.Unflatten(1, (8,))])
def test_a_module_without_an_operation_can_be_the_layer(viewing: nn.Module) -> None:
    network = Functional(viewing).eval()
    image = torch.randn(2, 3, SIDE, SIDE)
    assert default_layer(network, (SIDE, SIDE)) == "end"

    [graphs] = export(network, {"end": probe(network, "end", image)}, (SIDE, SIDE))

    assert [value.name for value in graphs.trunk.graph.output] == ["activation"]
    assert "Relu" in {node.op_type for node in graphs.trunk.graph.node}


class Attention(nn.Module):
    def __init__(self, *, normed: bool) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.k_norm = nn.LayerNorm(4) if normed else nn.Identity()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        parts = self.qkv(tokens).unflatten(2, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        mixed = functional.scaled_dot_product_attention(query, self.k_norm(key), value)
        answer: torch.Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return answer


class Block(nn.Module):
    def __init__(self, *, normed: bool) -> None:
        super().__init__()
        self.norm, self.attn, self.drop_path = nn.LayerNorm(16), Attention(normed=normed), nn.Identity()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.drop_path(self.attn(self.norm(tokens)))
        return tokens + mixed


class Transformer(nn.Module):
    """With a class token, as timm writes it: after the last attention nothing depends on the cells."""

    def __init__(self, *, normed: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.token = nn.Conv2d(3, 16, 8, stride=8), nn.Parameter(torch.randn(1, 1, 16))
        self.position = nn.Parameter(torch.randn(1, 17, 16))
        self.blocks = nn.Sequential(Block(normed=normed), Block(normed=normed))
        self.head = nn.Linear(16, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        cells = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(cells), -1, -1), cells], dim=1) + self.position
        logits: torch.Tensor = self.head(self.blocks(tokens)[:, 0])
        return logits


@pytest.mark.parametrize("normed", [True, False])
def test_tensors_inside_an_attention_are_no_maps(*, normed: bool) -> None:
    network = Transformer(normed=normed).eval()

    candidates, passed = survey(network, (SIDE, SIDE))

    assert candidates[-1].name == "blocks.1.norm"
    assert not [each.name for each in candidates if ".attn." in each.name]
    reasons = {each.name: each.reason for each in passed}
    assert reasons["blocks.1.attn.qkv"] == "it is inside an attention"
    assert reasons["blocks"] == "not every class depends on its cells"


class Two(nn.Module):
    """Two branches, one for each class, an auxiliary head, and a constant that depends on no image."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.one, self.two = stem(), stem2(), stem2()
        self.aux_head, self.table = nn.Conv2d(8, 2, 1), Table()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        shared = self.shared(image)
        branches = [branch(shared).mean(dim=(1, 2, 3)) for branch in (self.one, self.two)]
        extra: torch.Tensor = self.aux_head(shared + self.table(image)).mean(dim=(2, 3))
        return torch.stack(branches, dim=1) + extra


def stem2() -> nn.Module:
    return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Tanh())


class Table(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(image), 8, 8, 8)


def test_a_layer_serves_every_class() -> None:
    network = Two().eval()

    candidates, passed = survey(network, (SIDE, SIDE))

    assert [each.name for each in candidates] == ["shared.0", "shared"]
    reasons = {each.name: each.reason for each in passed}
    assert reasons["one"] == reasons["two"] == reasons["table"] == "not every class depends on its cells"
    assert reasons["aux_head"] == "it is an auxiliary head"


class Detached(nn.Module):
    def __init__(self, *, fully: bool) -> None:
        super().__init__()
        self.one, self.two, self.linear, self.fully = stem(), stem2(), nn.Linear(8, 3), fully

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        late = self.two(self.one(image).detach())
        logits: torch.Tensor = self.linear((late.detach() if self.fully else late).mean(dim=(2, 3)))
        return logits.detach() if self.fully else logits


class Overwriting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.linear = nn.Conv2d(3, 8, 5, stride=4), nn.Linear(8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        value = torch.relu(self.one(image))
        value *= 2
        logits: torch.Tensor = self.linear(value.mean(dim=(2, 3)))
        return logits


def test_what_cannot_be_differentiated_is_refused_in_a_sentence() -> None:
    partly = Detached(fully=False).eval()
    reason = r"operator detach \(test_layers\.py:\d+\) lies between; compile it"
    with pytest.raises(
        CompileError,
        match=f"with respect to layer 'one': {reason}",
    ):
        probe(partly, "one", torch.randn(2, 3, SIDE, SIDE))
    with pytest.raises(CompileError, match=f"can be differentiated: {reason}"):
        default_layer(Detached(fully=True).eval(), (SIDE, SIDE))
    with pytest.raises(CompileError, match=r"cannot be differentiated: RuntimeError: one of the variables.*x = x \* y"):
        default_layer(Overwriting().eval(), (SIDE, SIDE))


class AttentionPooling(nn.Module):
    """Weighs its places by a softmax over scores of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.scores, self.linear = stem(), nn.Conv2d(8, 1, 1), nn.Linear(8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        grid = self.body(image)
        weights = self.scores(grid).flatten(2).softmax(-1)
        logits: torch.Tensor = self.linear((grid.flatten(2) * weights).sum(-1))
        return logits


def test_the_scores_of_an_attention_pooling_are_no_layer() -> None:
    network = AttentionPooling().eval()

    assert default_layer(network, (SIDE, SIDE)) == "body"
    assert {each.name: each.reason for each in survey(network, (SIDE, SIDE))[1]}["scores"] == (
        "it holds the scores of an attention"
    )


def test_a_named_layer_of_one_cell_is_refused_with_another_one() -> None:
    network = nn.Sequential(stem(), *head()).eval()

    with pytest.raises(CompileError, match=r"^layer '1' answers one cell, .* about places; choose '0' instead$"):
        probe(network, "1", torch.randn(2, 3, SIDE, SIDE))


def test_the_default_layer_is_found_without_a_backward_pass_through_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    bodies = [nn.Conv2d(8, 8, 1) for _ in range(10)]
    network = nn.Sequential(stem(), *bodies, *head()).eval()
    wanted: list[int] = []
    differentiate = layers.gradients

    def noted(value: torch.Tensor, outputs: list[torch.Tensor]) -> list[torch.Tensor | None]:
        wanted.append(len(outputs))
        return differentiate(value, outputs)

    monkeypatch.setattr(layers, "gradients", noted)
    name, layout = layers.default_target(network, (SIDE, SIDE))

    assert wanted == [8, 8, 8], "for each class, with respect to the last layers alone"
    assert (name, layout.shape) == ("10", (8, 8, 8))
    candidates, _ = survey(network, (SIDE, SIDE))
    assert (candidates[-1].name, candidates[-1].shape) == (name, layout.shape)
