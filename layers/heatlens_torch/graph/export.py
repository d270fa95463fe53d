"""Export the trunk and the tail of each target layer as ONNX with a dynamic batch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
import torch
from torch import fx, nn

from heatlens.card import OWNERS, SELECTOR
from heatlens.errors import CompileError
from heatlens.steps import COLORS
from heatlens_torch.errors import WITHOUT_GRADIENTS
from heatlens_torch.graph import cut as cutting
from heatlens_torch.graph.cut_layer import cut_layer
from heatlens_torch.graph.differentiate import differentiate, unique_batch_size
from heatlens_torch.graph.onnx_graph import to_onnx
from heatlens_torch.graph.probe import Probe


@dataclass(frozen=True, slots=True)
class Exported:
    """Both graphs of a layer, and the names of their tensors; without gradients the tail answers logits alone."""

    trunk: onnx.ModelProto
    tail: onnx.ModelProto

    TRUNK_INPUTS = ("image",)
    TAIL_OUTPUTS = ("logits", "gradient")


def export(
    network: nn.Module,
    probed: Mapping[str, Probe],
    shape: tuple[int, int],
    *,
    channels: int = COLORS,
    gradients: bool = True,
) -> Iterator[Exported]:
    """Capture the network once; for each layer cut it, differentiate the tail, and convert both parts to ONNX.

    Args:
        network: In evaluation mode.
        probed: The result of `probe` for each target, by module path.
        shape: Height and width of the network's input.
        channels: Of its input.
        gradients: Whether the tails are differentiated.

    Yields:
        The graphs of each layer, in the order of `probed`; the activation is `[B,C,h,w]` for every kind of layer.

    Raises:
        CompileError: A stage fails; the message names the operator and the layer.
    """
    sizes = [size for seen in probed.values() for size in (*seen.shape, seen.logits)]
    image = torch.zeros(unique_batch_size((channels, *shape, *sizes)), channels, *shape)
    captured = cutting.capture(network, image, probed)
    for layer, seen in probed.items():
        yield _export(captured, layer, seen, image, gradients=gradients)


def _export(captured: fx.GraphModule, layer: str, probed: Probe, image: torch.Tensor, *, gradients: bool) -> Exported:
    cut = cut_layer(captured, layer, probed.layout)
    with torch.no_grad():  # of one image: only the shapes are of interest
        one = _as_tuple(cut.trunk(image[:1]))
        crossing = tuple(value.repeat(len(image), *[1] * (value.dim() - 1)) for value in one)
    if crossing[0].shape[1:] != probed.shape:
        raise CompileError(f"the last operation inside layer {layer!r} does not make its output")
    names = tuple(cutting.crossing_names(len(crossing)))
    trunk = to_onnx(cut.trunk, (image,), inputs=Exported.TRUNK_INPUTS, outputs=names, place=f"up to {layer!r}")
    if not gradients:
        return Exported(trunk, _plain_tail(cut, crossing, layer))
    try:
        return Exported(trunk, _tail(cut, crossing, probed.logits, layer))
    except CompileError as error:
        if _runs_without(cut, crossing, layer):
            raise CompileError(f"{error}; {WITHOUT_GRADIENTS}") from error
        raise


def _tail(cut: cutting.Cut, crossing: tuple[torch.Tensor, ...], logits: int, layer: str) -> onnx.ModelProto:
    """Convert the tail together with its gradient."""
    inputs = (*cutting.crossing_names(len(crossing)), SELECTOR, OWNERS)
    tail = differentiate(cut.tail, crossing, logits, layer=layer)
    rows = unique_batch_size((logits,), *(value.shape for value in crossing))
    examples = (*crossing, torch.zeros(rows, logits), torch.arange(rows) % len(crossing[0]))
    return to_onnx(tail, examples, inputs=inputs, outputs=Exported.TAIL_OUTPUTS, place=f"after {layer!r}")


def _plain_tail(cut: cutting.Cut, crossing: tuple[torch.Tensor, ...], layer: str) -> onnx.ModelProto:
    """Convert the tail alone."""
    inputs = cutting.crossing_names(len(crossing))
    return to_onnx(cut.tail, crossing, inputs=inputs, outputs=Exported.TAIL_OUTPUTS[:1], place=f"after {layer!r}")


def _runs_without(cut: cutting.Cut, crossing: tuple[torch.Tensor, ...], layer: str) -> bool:
    """Tell whether the gradient alone is what cannot be compiled."""
    try:
        _plain_tail(cut, crossing, layer)
    except CompileError:
        return False
    return True


def _as_tuple(values: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (values,) if isinstance(values, torch.Tensor) else values
