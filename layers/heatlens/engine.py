"""Trunk and tail, executed by OpenVINO on the CPU: image batch [B,3,H,W] -> activations -> logits and gradients."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import openvino as ov

from heatlens.card import Card, Graph
from heatlens.errors import EngineError

Floats = npt.NDArray[np.float32]


class Engine(Protocol):
    """What the pipeline needs from an engine. Safe from many threads at once."""

    name: str
    precision: str
    device: str

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        """Run the graph before the cut: `[B,3,H,W]` -> the activation `[B,C,h,w]`, then what else crosses the cut."""
        ...

    def tail(self, crossing: Sequence[Floats], selector: Floats) -> tuple[Floats, Floats]:
        """Run the graph after the cut: crossing values and selector `[B,K]` -> logits `[B,K]`, gradient `[B,C,h,w]`.

        The gradient is of `sum(selector * logits)` with respect to the activation; a row of zeros selects the
        predicted class (for one logit its sign, otherwise the argmax).
        """
        ...


class OpenVinoEngine:
    """The compiled graphs of one layer of a model folder on the CPU, in float32."""

    name = "openvino"
    precision = "f32"
    device = "CPU"

    def __init__(self, folder: Path, card: Card, *, threads: int = 0, layer: str | None = None) -> None:
        """Compile both graphs of a layer for this processor.

        Args:
            folder: The model folder, already verified.
            card: Its card.
            threads: Size of the engine's thread pool; 0 lets the engine choose.
            layer: Name of a layer of the card; by default its first.

        Raises:
            EngineError: A graph cannot be read, has other tensors than the card says, or would not run in float32.
        """
        core, graphs = ov.Core(), card.layer(layer)
        self._trunk = _Executable(core, folder, graphs.trunk, threads=threads)
        self._tail = _Executable(core, folder, graphs.tail, threads=threads)

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        return self._trunk([batch])

    def tail(self, crossing: Sequence[Floats], selector: Floats) -> tuple[Floats, Floats]:
        logits, gradient = self._tail([*crossing, selector])
        return logits, gradient


class _Executable:
    """One graph; an inference request per thread, because a request is not shareable and costs memory."""

    def __init__(self, core: ov.Core, folder: Path, graph: Graph, *, threads: int) -> None:
        # The hint is set because OpenVINO picks bfloat16 by itself on processors that have it.
        config: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        try:
            self._compiled = core.compile_model(str(folder / graph.file), "CPU", config)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot compile {graph.file}") from error
        self._check(graph)
        self._local = threading.local()

    def __call__(self, inputs: Sequence[Floats]) -> tuple[Floats, ...]:
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        request.infer(list(inputs), share_inputs=True)
        return tuple(np.array(tensor.data, dtype=np.float32) for tensor in request.output_tensors)

    def _check(self, graph: Graph) -> None:
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        if precision != ov.Type.f32:
            raise EngineError(f"{graph.file} would run in {precision}, not in f32")
        inputs = tuple(port.get_any_name() for port in self._compiled.inputs)
        outputs = tuple(port.get_any_name() for port in self._compiled.outputs)
        if (inputs, outputs) != (graph.inputs, graph.outputs):
            named = f"{graph.inputs} -> {graph.outputs}"
            raise EngineError(f"{graph.file} has tensors {inputs} -> {outputs}, its card says {named}")
