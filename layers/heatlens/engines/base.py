"""Define the protocol of an engine, and open the engine that the settings select."""

import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from heatlens.card import Card, Graph, TorchWeights
from heatlens.engines.resources import cuda_devices
from heatlens.errors import CardError, EngineError, HeatlensError
from heatlens.types import EngineName, Floats, Indices, Precision

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """Executes a trunk and a tail. It is thread-safe and keeps no state between calls.

    `name`, `precision` and `device` (`CPU` or `CUDA`) are those that really run.
    """

    name: str
    precision: str
    device: str

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        """Run the graph before the cut on images `[B,3,H,W]`.

        Returns:
            The activation `[B,C,h,w]`, then the other values that cross the cut.
        """
        ...

    def tail(
        self, crossing: Sequence[Floats], selector: Floats, owners: Indices | None = None
    ) -> tuple[Floats, Floats | None]:
        """Run the graph after the cut on the values that cross it, with a selector for each row.

        Args:
            crossing: Values of B images.
            selector: `[R,K]`. A row of zeros selects the predicted class (for one logit its sign, otherwise the
                argmax).
            owners: `[R]`, the image of each row; `None` means that row r is of image r.

        Returns:
            For each row the logits of its image `[R,K]`, and the gradient `[R,C,h,w]` of `sum(selector * logits)` with
            respect to its activation. The gradient is `None` where the model was compiled without gradients; the
            selector then means nothing.
        """
        ...


@runtime_checkable
class OwnMethods(Protocol):
    """An engine with methods of its own, beyond those computed from trunk and tail.

    `methods` maps each to how often it runs the network for one image and target.
    """

    methods: Mapping[str, int]

    def maps(self, method: str, batch: Floats, selector: Floats, *, eigen_smooth: bool = False) -> Floats:
        """Explain images `[B,3,H,W]` along selectors `[B,K]`.

        Returns:
            `[B,h,w]` before ReLU, or the finished heat `[B,H,W]` in 0..1 if the method has no other map.

        Raises:
            EngineError: The method is not installed, or cannot explain this network.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Kind:
    """An engine's module, which has `open_layers`; its precisions; and the extra that installs its library."""

    module: str
    precisions: tuple[Precision, ...]
    extra: str = ""


# Modules by name: no library is imported before it is needed, and the core does not import heatlens_torch.
_KINDS = {
    "openvino": _Kind("heatlens.engines.openvino", ("f32", "bf16", "int8")),
    "onnxruntime": _Kind("heatlens.engines.onnx_runtime", ("f32", "int8"), extra="onnxruntime"),
    "torch": _Kind("heatlens_torch.engine", ("f32", "bf16"), extra="torch"),
}
_MEASURED_BY = {"bf16": "on a processor that has bfloat16", "int8": "with --int8"}


def open_engines(
    folder: Path, card: Card, *, engine: EngineName = "auto", precision: Precision = "f32", threads: int = 0
) -> dict[str, Engine]:
    """Open the engine of every layer of a model folder.

    Args:
        folder: The model folder, already verified.
        card: Its card.
        engine: `auto` is ONNX Runtime if it can use a GPU and the precision is float32, or if OpenVINO refused the
            graphs when they were compiled; else OpenVINO.
        precision: That of trunk and tail; `int8` applies to the trunk alone. A processor without bfloat16 runs `bf16`
            in float32, and the engine's `precision` says so.
        threads: Size of the engine's thread pool; 0 lets the engine choose.

    Raises:
        CardError: The card has no proof of this precision, or no weights for PyTorch.
        EngineError: The engine is not installed, does not run at this precision, or cannot execute the graphs.
    """
    check_agreements(card, precision)
    if engine != "auto":
        return _open(engine, folder, card, precision, threads)
    on_gpu = _on_gpu(folder, card, precision, threads)
    by_default: EngineName = "onnxruntime" if "openvino" in card.refused_by else "openvino"
    return on_gpu or _open(by_default, folder, card, precision, threads)


def open_onnx_runtime(folder: Path, trunk: Graph, tail: Graph) -> Engine:
    """Open ONNX Runtime on the graphs of one layer, on the processor in float32.

    Raises:
        EngineError: It is not installed, or a graph cannot be read.
    """
    module = _imported("onnxruntime")
    engine: Engine = module.OnnxRuntimeEngine(folder, trunk, tail)
    return engine


def files_of(card: Card, engine: EngineName, precision: Precision) -> Sequence[Graph | TorchWeights]:
    """List the files of a model that an engine reads.

    Raises:
        CardError: The model has none for this engine or precision.
    """
    if engine == "torch":
        return [card.weights]
    return [graph for layer in card.layers for graph in layer.graphs_at(precision)]


def tail_inputs(
    tail: Graph, crossing: Sequence[Floats], selector: Floats, owners: Indices | None
) -> list[Floats | Indices]:
    """List the inputs of a tail's graph for the arguments of `Engine.tail`.

    A graph without owners gets the values of an image again for each of its rows.
    """
    if tail.has_owners:
        return [*crossing, selector, np.arange(len(selector)) if owners is None else owners]
    repeated = for_each_row(crossing, owners)
    return [*repeated, selector] if tail.has_gradient else [*repeated]


def for_each_row(crossing: Sequence[Floats], owners: Indices | None) -> Sequence[Floats]:
    """Repeat the values of each image for its rows; without owners row r is of image r already."""
    return crossing if owners is None else [value[owners] for value in crossing]


def check_agreements(card: Card, precision: Precision) -> None:
    """Refuse a precision that was not measured against float32.

    Raises:
        CardError: A layer has no agreement for this precision.
    """
    for layer in card.layers:
        if precision != "f32" and precision not in layer.agreements:
            raise CardError(
                f"the card of {card.name} has no measured agreement for {precision} at {layer.name!r}: "
                f"compile the model again {_MEASURED_BY[precision]}, or use f32"
            )


def _open(engine: EngineName, folder: Path, card: Card, precision: Precision, threads: int) -> dict[str, Engine]:
    if engine in card.refused_by:
        raise EngineError(f"{engine} cannot run {card.name}, use another engine: {card.refused_by[engine]}")
    kind = _KINDS[engine]
    if precision not in kind.precisions:
        raise EngineError(f"the engine {engine} does not run in {precision}: it has {', '.join(kind.precisions)}")
    module = _imported(engine)
    try:
        engines: dict[str, Engine] = module.open_layers(folder, card, precision=precision, threads=threads)
    except HeatlensError:
        raise
    except Exception as error:  # drivers and libraries raise many unrelated types
        raise EngineError(f"the engine {engine} cannot be made ready here") from error
    return engines


def _imported(engine: EngineName) -> Any:  # noqa: ANN401 - a module
    kind = _KINDS[engine]
    try:
        return importlib.import_module(kind.module)
    except ImportError as error:
        missing = error.name or "a library"
        raise EngineError(
            f"the engine {engine} needs {missing}, which cannot be imported here: pip install 'heatlens[{kind.extra}]'"
        ) from error


def _on_gpu(folder: Path, card: Card, precision: Precision, threads: int) -> dict[str, Engine]:
    """Open ONNX Runtime's engines if all of them really run on a GPU, else none; log a GPU that cannot be used."""
    if precision != "f32" or find_spec("onnxruntime") is None or not cuda_devices():
        return {}
    try:
        engines = _open("onnxruntime", folder, card, precision, threads)
    except EngineError as error:
        logger.warning("there is a GPU, but not for this model: %s (%r)", error, error.__cause__)
        return {}
    if any(engine.device == "CPU" for engine in engines.values()):
        logger.warning("there is a GPU, but ONNX Runtime cannot use it: OpenVINO runs on the processor")
        return {}
    return engines
