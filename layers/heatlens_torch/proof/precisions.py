"""Measure a compiled model at the lower precisions that this machine runs or that were requested."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from heatlens.card import Agreement, Card, Graph, Layer
from heatlens.engines.openvino import OpenVinoEngine, has_bf16
from heatlens.errors import EngineError, ModelFileError
from heatlens.types import Floats, Precision
from heatlens_torch.graph.quantize import LEAST_IMAGES, quantize
from heatlens_torch.loading.network import other_images
from heatlens_torch.loading.spec import PROOF_INPUTS, ModelSpec
from heatlens_torch.proof import calibration
from heatlens_torch.proof.precision_agreement import explain_float32, measure_agreement


def measure(folder: Path, card: Card, images: Floats, spec: ModelSpec, *, int8: bool) -> Card:
    """Add to every layer its agreements with float32, and with `int8` its 8-bit trunk.

    bfloat16 is measured if this processor has it. The description's evaluation function, if there is one, also judges
    the default layer at each precision.

    Args:
        folder: The model folder with its graphs.
        card: As compiled and proven.
        images: `[N,3,H,W]`: the proof's, then those that the ranges of 8-bit values are taken from.
        spec: The description.
        int8: Whether to quantize the trunks.

    Raises:
        CompileError: A trunk cannot be quantized.
        EngineError: OpenVINO cannot run the result.
        ModelFileError: There are too few images to quantize with; or the evaluation fails.
    """
    precisions: list[Precision] = ["bf16"] if has_bf16() and not card.refused_by else []
    if int8:
        further = _further(images, spec)
        card = _changed(card, lambda layer: {"trunk_int8": _quantized(folder, layer, further)})
        card = card.model_copy(update={"made_with": card.made_with | {"nncf": version("nncf")}})
        precisions.append("int8")
    shown = images[:PROOF_INPUTS]
    return _changed(card, lambda layer: {"agreements": _agreements(folder, card, layer, shown, precisions, spec)})


def _changed(card: Card, change: Callable[[Layer], dict[str, object]]) -> Card:
    layers = tuple(layer.model_copy(update=change(layer)) for layer in card.layers)
    return card.model_copy(update={"layers": layers})


def _agreements(
    folder: Path, card: Card, layer: Layer, images: Floats, precisions: list[Precision], spec: ModelSpec
) -> dict[str, Agreement]:
    truth = (
        explain_float32(OpenVinoEngine(folder, layer.trunk, layer.tail), images, card.logits) if precisions else None
    )
    found: dict[str, Agreement] = {}
    for precision in precisions:
        engine = OpenVinoEngine(folder, *layer.graphs_at(precision), precision=precision)
        assert truth is not None, "there are precisions"
        found[precision] = measure_agreement(engine, images, truth)
        if layer is card.layers[0]:
            findings = calibration.evaluate(engine, spec)
            found[precision] = found[precision].model_copy(update={"evaluation": findings})
    return found


def _quantized(folder: Path, layer: Layer, images: Floats) -> Graph:
    """Quantize the trunk, in the plain form if OpenVINO cannot run the finer one.

    It cannot where tokens and batch are merged into one dimension, as around a transformer's linear layers.
    """
    graph = quantize(layer, images, folder)
    try:
        OpenVinoEngine(folder, graph, layer.tail, precision="int8")
    except EngineError:
        graph = quantize(layer, images, folder, plain=True)
        OpenVinoEngine(folder, graph, layer.tail, precision="int8")
    return graph


def _further(images: Floats, spec: ModelSpec) -> Floats:
    """Choose the images for the ranges: none that an agreement is measured on, which would bias it."""
    if spec.inputs is None:
        return other_images(spec)
    further = images[PROOF_INPUTS:]
    if len(further) < LEAST_IMAGES:
        raise ModelFileError(
            f"inputs: {spec.inputs!r} returned {len(images)} images: --int8 needs {PROOF_INPUTS + LEAST_IMAGES}, "
            f"because it takes its ranges from others than the {PROOF_INPUTS} that it is judged on"
        )
    return further
