"""Execute trunk and tail with ONNX Runtime, on a GPU if it can use one."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heatlens.card import OWNERS, Card, Graph
from heatlens.engines.base import tail_inputs
from heatlens.engines.device_array import DeviceArray, device_array
from heatlens.engines.resources import cuda_devices
from heatlens.engines.telemetry import without_telemetry
from heatlens.errors import EngineError
from heatlens.types import Floats, Indices, Precision

with without_telemetry():
    import onnxruntime as ort

logger = logging.getLogger(__name__)

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
# Full float32: TF32 would round the factors to 10 bits. A search for the fastest convolution would run again for each
# batch size, with results that may differ each time.
_CUDA_OPTIONS = {
    "use_tf32": "0",
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
}
_ERRORS_ONLY = 3  # ONNX Runtime's log severity; its warnings only suggest changes to the graphs


class OnnxRuntimeEngine:
    """The graphs of one layer; a session is thread-safe and keeps no state of a run.

    What crosses the cut stays on the device: it is copied to the host once, for the map, and never back.
    """

    name = "onnxruntime"

    def __init__(
        self,
        folder: Path,
        trunk: Graph,
        tail: Graph,
        *,
        threads: int = 0,
        precision: Precision = "f32",
        cuda: bool = False,
    ) -> None:
        """Load both graphs of a layer.

        Args:
            folder: The folder with the graphs' files, already verified.
            trunk: The graph before the cut.
            tail: The graph after it.
            threads: Size of each graph's thread pool; 0 lets ONNX Runtime choose.
            precision: Of the trunk: `f32` or `int8`.
            cuda: Try the first GPU; `device` tells whether it works.

        Raises:
            EngineError: A graph cannot be read, or has other tensors than its record says.
        """
        self.precision: str = precision
        self._tail_graph = tail
        self._trunk = _Executable(folder, trunk, threads=threads, cuda=cuda)
        self._tail = _Executable(folder, tail, threads=threads, cuda=cuda)
        self.device = "CUDA" if self._trunk.on_gpu and self._tail.on_gpu else "CPU"

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        return tuple(device_array(value.numpy(), value) for value in self._trunk.run([batch], keep=self.device))

    def tail(
        self, crossing: Sequence[Floats], selector: Floats, owners: Indices | None = None
    ) -> tuple[Floats, Floats | None]:
        outputs = self._tail.run(tail_inputs(self._tail_graph, crossing, selector, owners))
        logits, *gradient = (output.numpy() for output in outputs)
        return logits, gradient[0] if self._tail_graph.has_gradient else None


def open_layers(folder: Path, card: Card, *, precision: Precision, threads: int) -> dict[str, OnnxRuntimeEngine]:
    """Open an engine for each layer of the card.

    Raises:
        CardError: A layer has no trunk of this precision.
        EngineError: As `OnnxRuntimeEngine`.
    """
    # CUDA has no kernels for 8-bit graphs: tensors would be copied back and forth.
    cuda = precision == "f32" and _find_cuda()
    engines = {
        layer.name: OnnxRuntimeEngine(
            folder, *layer.graphs_at(precision), threads=threads, precision=precision, cuda=cuda
        )
        for layer in card.layers
    }
    if cuda and any(engine.device == "CPU" for engine in engines.values()):
        logger.warning("ONNX Runtime cannot use the GPU: the processor runs the model")
    return engines


def _find_cuda() -> bool:
    """Tell whether ONNX Runtime was built for CUDA and there is a GPU; if so load its libraries."""
    if CUDA not in ort.get_available_providers() or not cuda_devices():
        return False
    ort.preload_dlls()  # they are in Python packages, where the loader does not search
    return True


class _Executable:
    """One graph."""

    def __init__(self, folder: Path, graph: Graph, *, threads: int, cuda: bool) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.use_deterministic_compute = True
        # Threads that spin while they wait take the processor from other work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = _session(folder / graph.file, options, cuda=cuda)
        self.on_gpu = CUDA in self._session.get_providers()
        self._inputs, self._outputs = self._check(graph)

    def run(self, inputs: Sequence[Floats | Indices], *, keep: str = "CPU") -> list[ort.OrtValue]:
        """Run the graph; its outputs are left on the device `keep`."""
        binding = self._session.io_binding()
        for name, value in zip(self._inputs, inputs, strict=True):
            if isinstance(value, DeviceArray) and value.on_device is not None:
                binding.bind_ortvalue_input(name, value.on_device)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for name in self._outputs:
            binding.bind_output(name, keep.lower())
        self._session.run_with_iobinding(binding)
        outputs: list[ort.OrtValue] = binding.get_outputs()
        return outputs

    def _check(self, graph: Graph) -> tuple[tuple[str, ...], tuple[str, ...]]:
        inputs = tuple(port.name for port in self._session.get_inputs())
        outputs = tuple(port.name for port in self._session.get_outputs())
        if (inputs, outputs) != (graph.inputs, graph.outputs):
            named = f"{graph.inputs} -> {graph.outputs}: compile the model again"
            raise EngineError(f"{graph.file} has tensors {inputs} -> {outputs}, its card says {named}")
        ports = [*self._session.get_inputs(), *self._session.get_outputs()]
        kinds = {port.type for port in ports if port.name != OWNERS}
        if kinds != {"tensor(float)"}:
            raise EngineError(f"{graph.file} has tensors of other kinds than float32: {', '.join(sorted(kinds))}")
        return inputs, outputs


def _session(path: Path, options: ort.SessionOptions, *, cuda: bool) -> ort.InferenceSession:
    """Open a session on the GPU if requested and possible, else on the processor."""
    if cuda:
        try:
            return ort.InferenceSession(str(path), options, providers=[(CUDA, _CUDA_OPTIONS), CPU])
        except Exception:
            logger.warning("CUDA cannot run %s", path.name, exc_info=True)
    try:
        return ort.InferenceSession(str(path), options, providers=[CPU])
    except Exception as error:  # its error classes have no common base but Exception
        raise EngineError(f"ONNX Runtime cannot load {path.name}") from error
