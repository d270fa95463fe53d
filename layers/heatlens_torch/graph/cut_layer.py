"""Cut a captured network at a target layer: narrow and simplify a copy of its graph, and split it there."""

from copy import deepcopy

from torch import fx

from heatlens_torch.graph.cut import Cut, find_cut, split
from heatlens_torch.graph.grids import Layout, regrid
from heatlens_torch.graph.narrow import narrow
from heatlens_torch.graph.simplify import simplify


def cut_layer(captured: fx.GraphModule, layer: str, layout: Layout) -> Cut:
    """Cut after a layer, whose output becomes `[B,C,h,w]`.

    Args:
        captured: From `capture`, with the layer marked; it is not changed.
        layer: Module path of the target.
        layout: Of its output.

    Raises:
        CompileError: The graph cannot be cut there.
    """
    own = fx.GraphModule(captured, deepcopy(captured.graph))  # rewritten for the layer; the weights are shared
    narrow(own, layer)
    simplify(own)
    return split(own, regrid(own, find_cut(own.graph, layer), layout))
