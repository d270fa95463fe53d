"""Execute trunk and tail with OpenVINO on the CPU."""

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heatlens.card import Card, Graph
from heatlens.engines.base import tail_inputs
from heatlens.engines.telemetry import without_telemetry
from heatlens.engines.without_converter import without_converter
from heatlens.errors import EngineError
from heatlens.types import Floats, Indices, Precision

with without_telemetry(), without_converter():
    import openvino as ov

logger = logging.getLogger(__name__)


class OpenVinoEngine:
    """The graphs of one layer, compiled for the CPU."""

    name = "openvino"
    device = "CPU"

    def __init__(
        self, folder: Path, trunk: Graph, tail: Graph, *, threads: int = 0, precision: Precision = "f32"
    ) -> None:
        """Compile both graphs of a layer for this processor.

        Args:
            folder: The folder with the graphs' files, already verified.
            trunk: The graph before the cut.
            tail: The graph after it.
            threads: Size of the engine's thread pool; 0 lets the engine choose.
            precision: Of the trunk and the tail. `bf16` becomes `f32` if the processor would have to emulate it.

        Raises:
            EngineError: A graph cannot be read, has other tensors than its record says, or would not run at the
                precision.
        """
        self.precision: str = _supported_precision(precision)
        hint = "bf16" if self.precision == "bf16" else "f32"
        core = ov.Core()
        self._tail_graph = tail
        self._trunk = _Executable(core, folder, trunk, hint=hint, threads=threads)
        self._tail = _Executable(core, folder, tail, hint=hint, threads=threads)

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        return self._trunk([batch])

    def tail(
        self, crossing: Sequence[Floats], selector: Floats, owners: Indices | None = None
    ) -> tuple[Floats, Floats | None]:
        results = self._tail(tail_inputs(self._tail_graph, crossing, selector, owners))
        return results[0], results[1] if self._tail_graph.has_gradient else None


def open_layers(folder: Path, card: Card, *, precision: Precision, threads: int) -> dict[str, OpenVinoEngine]:
    """Open an engine for each layer of the card.

    Raises:
        CardError: A layer has no trunk of this precision.
        EngineError: As `OpenVinoEngine`.
    """
    if precision != _supported_precision(precision):
        logger.warning("this processor has no %s: f32 instead, which is slower and no less exact", precision)
    return {
        layer.name: OpenVinoEngine(folder, *layer.graphs_at(precision), threads=threads, precision=precision)
        for layer in card.layers
    }


def has_bf16() -> bool:
    """Tell whether this processor multiplies bfloat16; emulated, it is slower than float32."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _supported_precision(precision: Precision) -> Precision:
    return "f32" if precision == "bf16" and not has_bf16() else precision


class _Executable:
    """One graph, with as many inference requests as are used at a time: a request is not shared, and costs memory."""

    def __init__(self, core: ov.Core, folder: Path, graph: Graph, *, hint: str, threads: int) -> None:
        # The hint is set because OpenVINO picks bfloat16 by itself on processors that have it.
        config: dict[str, object] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        try:
            self._compiled = core.compile_model(str(folder / graph.file), "CPU", config)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot compile {graph.file}") from error
        self._check(graph, hint)
        self._idle: deque[ov.InferRequest] = deque()

    def __call__(self, inputs: Sequence[Floats | Indices]) -> tuple[Floats, ...]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        request.infer(list(inputs), share_inputs=True)
        outputs = tuple(np.array(tensor.data, dtype=np.float32) for tensor in request.output_tensors)
        self._idle.append(request)
        return outputs

    def _check(self, graph: Graph, hint: str) -> None:
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        if precision != getattr(ov.Type, hint):
            raise EngineError(f"{graph.file} would run in {precision}, not in {hint}")
        inputs = tuple(port.get_any_name() for port in self._compiled.inputs)
        outputs = tuple(port.get_any_name() for port in self._compiled.outputs)
        if (inputs, outputs) != (graph.inputs, graph.outputs):
            named = f"{graph.inputs} -> {graph.outputs}: compile the model again"
            raise EngineError(f"{graph.file} has tensors {inputs} -> {outputs}, its card says {named}")
