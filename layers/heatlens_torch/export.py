"""From network to graphs: network, layer and input shape -> trunk and tail as ONNX with a dynamic batch."""

from dataclasses import dataclass

import onnx
import torch
from torch import nn

from heatlens.errors import CompileError
from heatlens_torch import cut as cutting
from heatlens_torch.differentiate import differentiate, free_batch
from heatlens_torch.onnx_graph import to_onnx
from heatlens_torch.probe import Probe
from heatlens_torch.simplify import simplify


@dataclass(frozen=True, slots=True)
class Exported:
    """Both graphs and the names of their tensors in order."""

    trunk: onnx.ModelProto
    tail: onnx.ModelProto
    crossing: tuple[str, ...]

    TRUNK_INPUTS = ("image",)
    TAIL_OUTPUTS = ("logits", "gradient")

    @property
    def tail_inputs(self) -> tuple[str, ...]:
        return (*self.crossing, "selector")


def export(network: nn.Module, layer: str, probed: Probe, shape: tuple[int, int]) -> Exported:
    """Capture, cut, differentiate the tail, and write both parts down as ONNX.

    Args:
        network: In evaluation mode.
        layer: Module path of the target.
        probed: What `probe` saw at that layer.
        shape: Height and width of the network's input.

    Raises:
        CompileError: A stage refuses; the sentence names the operator and the layer where that is the reason.
    """
    image = torch.zeros(free_batch((3, *shape, *probed.shape, probed.logits)), 3, *shape)
    captured = cutting.capture(network, image)
    simplify(captured)
    cut = cutting.split(captured, cutting.find_cut(captured.graph, layer))
    with torch.no_grad():
        crossing = _as_tuple(cut.trunk(image))
    if crossing[0].shape[1:] != probed.shape:
        raise CompileError(f"the last operation inside layer {layer!r} does not make its output")
    names = tuple(cutting.crossing_names(len(crossing)))
    tail = differentiate(cut.tail, crossing, probed.logits)
    selector = torch.zeros(len(image), probed.logits)
    return Exported(
        trunk=to_onnx(cut.trunk, (image,), inputs=Exported.TRUNK_INPUTS, outputs=names, place=f"up to {layer!r}"),
        tail=to_onnx(
            tail,
            (*crossing, selector),
            inputs=(*names, "selector"),
            outputs=Exported.TAIL_OUTPUTS,
            place=f"after {layer!r}",
        ),
        crossing=names,
    )


def _as_tuple(values: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (values,) if isinstance(values, torch.Tensor) else values
