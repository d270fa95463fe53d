import torch
from torch import fx, nn

from heatlens_torch.graph.cut import capture
from heatlens_torch.graph.rewriting import between, replace


class Turned(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.relu(image)


def captured_relu() -> tuple[fx.GraphModule, fx.Node, torch.Tensor]:
    image = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    captured = capture(Turned(), image)
    [node] = [each for each in captured.graph.nodes if each.target == torch.ops.aten.relu.default]
    return captured, node, image


def test_a_map_is_multiplied_by_a_matrix_for_each_axis() -> None:
    captured, node, image = captured_relu()
    rows, columns = torch.randn(6, 4), torch.randn(5, 7)
    [value] = node.all_input_nodes

    with captured.graph.inserting_before(node):
        result = between(captured, node, value, rows, columns)
    replace(captured, node, result)
    captured.recompile()

    torch.testing.assert_close(captured(image), rows @ image @ columns)
    assert node not in list(captured.graph.nodes)


def test_what_is_known_of_a_node_is_kept() -> None:
    captured, node, _ = captured_relu()
    known = dict(node.meta)
    with captured.graph.inserting_before(node):
        result = captured.graph.call_function(torch.ops.aten.clone.default, (node.args[0],))

    replace(captured, node, result)

    assert known
    assert result.meta == known
