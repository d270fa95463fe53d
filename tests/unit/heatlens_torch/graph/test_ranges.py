"""What an operation selects, and where the entries of a reshaped value were."""

from collections.abc import Callable

import pytest
import torch
from torch import fx, nn

from heatlens_torch.graph.cut import capture
from heatlens_torch.graph.ranges import Range, Selection, before_reshape, order_of, selection_of, sizes_of

SHAPE = (3, 4, 6)


class Run(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return self.function(value) + 1


def captured(function: Callable[[torch.Tensor], torch.Tensor]) -> tuple[fx.Node, fx.Node]:
    """Return the input of a graph, whose first size follows the batch, and the node before the last."""
    nodes = list(capture(Run(function).eval(), torch.zeros(5, *SHAPE)).graph.nodes)
    image = next(node for node in nodes if node.op == "placeholder")
    return image, nodes[-2].args[0]


@pytest.mark.parametrize(
    ("function", "expected", "drops"),
    [
        (lambda x: x.select(1, 1), Range(1, 1, 1), True),
        (lambda x: x.select(-1, -2), Range(3, 4, 1), True),
        (lambda x: x.unbind(2)[3], Range(2, 3, 1), True),
        (lambda x: torch.ops.aten.slice(x, 2, 1, 3), Range(2, 1, 2), False),
        (lambda x: x[..., -2:], Range(3, 4, 2), False),
        (lambda x: x.chunk(3, dim=-1)[1], Range(3, 2, 2), False),
        (lambda x: x.split([1, 5], dim=3)[1], Range(3, 1, 5), False),
        (lambda x: x.split(2, dim=1)[1], Range(1, 2, 1), False),
        (lambda x: x[..., ::2], None, False),
        (lambda x: x.sin(), None, False),
    ],
)
def test_a_selection_is_a_range_of_its_source(
    function: Callable[[torch.Tensor], torch.Tensor], expected: Range | None, *, drops: bool
) -> None:
    image, node = captured(function)

    assert selection_of(node) == (Selection(image, expected, drops) if expected else None)


@pytest.mark.parametrize(
    ("function", "wanted", "expected"),
    [
        (lambda x: x.reshape(-1, 3, 24), Range(1, 1, 2), Range(1, 1, 2)),  # the dimension itself
        (lambda x: x.reshape(-1, 3, 4, 3, 2), Range(3, 1, 1), Range(3, 2, 2)),  # split from the last one
        (lambda x: x.reshape(-1, 3, 24), Range(2, 0, 6), None),  # merged
        (lambda x: x.reshape(-1, 4, 6), Range(1, 0, 1), Range(2, 0, 1)),  # after one that was merged with the batch
        (lambda x: x.transpose(0, 1).reshape(-1, 4, 6), Range(0, 0, 1), None),  # merged with the batch
    ],
)
def test_a_range_is_found_before_a_reshape(
    function: Callable[[torch.Tensor], torch.Tensor], wanted: Range, expected: Range | None
) -> None:
    _, node = captured(function)

    assert before_reshape(node.args[0], node, wanted) == expected  # type: ignore[arg-type]


def test_only_one_size_may_follow_the_batch() -> None:
    assert sizes_of(captured(lambda x: x.flatten(0, 1))[1]) == [-1, 4, 6]
    assert sizes_of(captured(lambda x: x.flatten(1) @ x.flatten(1).T)[1]) is None


def test_an_order_lists_the_dimensions_of_the_input() -> None:
    assert order_of(captured(lambda x: x.permute(0, -1, 1, 2))[1]) == [0, 3, 1, 2]
    assert order_of(captured(lambda x: x.transpose(1, -1))[1]) == [0, 3, 2, 1]
