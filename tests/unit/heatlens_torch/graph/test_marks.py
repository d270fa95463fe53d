"""A mark finds the output of a module, whatever made it, and leaves no trace."""

import torch
from torch import nn

from heatlens_torch.graph.cut import capture, find_cut
from heatlens_torch.graph.marks import marked


def test_the_mark_of_each_layer_is_found_and_all_marks_go() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Identity(), nn.Flatten(), nn.Linear(144, 2)).eval()
    image = torch.randn(5, 3, 8, 8)
    captured = capture(network, image, ["0", "2"])

    assert find_cut(captured.graph, "2").target == torch.ops.aten.relu.default

    captured.recompile()
    assert "heatlens" not in captured.code
    torch.testing.assert_close(captured(image), network(image))


def test_hooks_are_removed() -> None:
    network = nn.Sequential(nn.Identity())
    with marked(network, ["0"]):
        assert network[0]._forward_hooks
    assert not network[0]._forward_hooks
