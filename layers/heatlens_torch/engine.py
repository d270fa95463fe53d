"""Execute trunk and tail with PyTorch on CPU or CUDA."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import fx, nn

from heatlens.card import Card
from heatlens.engines.base import for_each_row
from heatlens.errors import EngineError
from heatlens.types import Floats, Indices, Precision
from heatlens_torch.graph import cut as cutting
from heatlens_torch.graph.cut_layer import cut_layer
from heatlens_torch.graph.differentiate import unique_batch_size
from heatlens_torch.graph.grids import Layout
from heatlens_torch.graph.selector import explained_selector
from heatlens_torch.loading.saved_network import load_network
from heatlens_torch.proof.method_names import GRADIENT_FREE, METHODS


class TorchEngine:
    """A network captured as a graph and cut at one layer, so that autograd differentiates the tail alone.

    It keeps no state between calls; the graph and its weights are only read.
    """

    name = "torch"

    def __init__(
        self,
        network: nn.Module,
        captured: fx.GraphModule,
        layer: str,
        layout: Layout,
        *,
        device: str,
        precision: Precision = "f32",
        gradients: bool = True,
    ) -> None:
        """Cut the graph at a layer.

        Args:
            network: The module itself, on its device, for the methods that need one.
            captured: Its graph, from `capture`; it is not changed.
            layer: Module path of the target.
            layout: Of the layer's output.
            device: torch's name of the device of both, `cpu` or `cuda`.
            gradients: Whether the tail is differentiated; otherwise only methods without gradients are offered.
            precision: `bf16` means autocast: products in bfloat16, sums and statistics in float32.

        Raises:
            CompileError: The graph cannot be cut there.
        """
        self.device = device.upper()
        self.precision: str = precision
        self.methods = {name: passes for name, passes in METHODS.items() if gradients or name in GRADIENT_FREE}
        self._gradients = gradients
        self._network, self._torch_device = network, torch.device(device)
        self._layer, self._layout = layer, layout
        cut = cut_layer(captured, layer, layout)
        self._trunk, self._tail = cut.trunk.to(self._torch_device), cut.tail.to(self._torch_device)

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        with torch.inference_mode(), self._autocast():
            values = self._trunk(self._images(batch))
        return tuple(_array(value) for value in (values if isinstance(values, tuple) else (values,)))

    def tail(
        self, crossing: Sequence[Floats], selector: Floats, owners: Indices | None = None
    ) -> tuple[Floats, Floats | None]:
        activation, *others = (self._tensor(value) for value in for_each_row(crossing, owners))
        if not self._gradients:
            with torch.inference_mode(), self._autocast():
                return _array(self._tail(activation, *others)), None
        activation.requires_grad_()
        with torch.enable_grad(), self._autocast():
            logits = self._tail(activation, *others).float()
        direction = explained_selector(self._tensor(selector), logits.detach())
        (gradient,) = torch.autograd.grad(logits, activation, direction)
        return _array(logits), _array(gradient)

    def maps(self, method: str, batch: Floats, selector: Floats, *, eigen_smooth: bool = False) -> Floats:
        """Explain images with any method of pytorch-grad-cam; see `reference.any_map`.

        One call runs at a time: pytorch-grad-cam changes the network while it works.

        Raises:
            EngineError: pytorch-grad-cam is not installed, has no such method, or cannot explain this layer by it.
        """
        try:
            from heatlens_torch.proof import reference
        except ImportError as error:
            raise EngineError(f"the method {method} needs pytorch-grad-cam: pip install 'heatlens[torch]'") from error
        return reference.any_map(
            self._network,
            self._layer,
            self._images(batch),
            self._tensor(selector),
            method,
            layout=self._layout,
            eigen_smooth=eigen_smooth,
        )

    def _images(self, batch: Floats) -> torch.Tensor:
        images = self._tensor(batch)
        return images.contiguous(memory_format=torch.channels_last) if self.device == "CUDA" else images

    def _tensor(self, values: Floats) -> torch.Tensor:
        # A copy: what a caller still holds must not change under a computation that has not ended.
        return torch.tensor(values, device=self._torch_device)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "f32":
            return nullcontext()
        return torch.autocast(self._torch_device.type, torch.bfloat16)


def open_layers(folder: Path, card: Card, *, precision: Precision, threads: int) -> dict[str, TorchEngine]:
    """Open an engine for each layer of the card, all of them on one network.

    Raises:
        CardError: The model was compiled without its weights.
        ModelFileError: The network cannot be built again here.
        CompileError: It cannot be captured or cut.
    """
    if threads:
        torch.set_num_threads(threads)
    _use_exact_float32()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = load_network(folder, card).requires_grad_(requires_grad=False).to(device)
    if device == "cuda":
        network = network.to(memory_format=torch.channels_last)
    sizes = [size for layer in card.layers for size in (*layer.shape, card.logits)]
    shape = (card.preprocess.channels, *card.preprocess.shape)
    image = torch.zeros(unique_batch_size((*shape, *sizes)), *shape, device=device)
    captured = cutting.capture(network, image, [layer.name for layer in card.layers])
    return {
        layer.name: TorchEngine(
            network,
            captured,
            layer.name,
            Layout(*layer.shape, layer.tokens),
            device=device,
            precision=precision,
            gradients=card.gradients,
        )
        for layer in card.layers
    }


def _use_exact_float32() -> None:
    """Compute float32 on CUDA in full float32 and deterministically; torch's defaults do neither."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def _array(tensor: torch.Tensor) -> Floats:
    array: Floats = tensor.detach().float().cpu().numpy()
    return array
