"""Quantize a trunk to 8-bit weights and activations, as an ONNX graph that every engine runs."""

import contextlib
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx

from heatlens.card import Graph, Layer
from heatlens.engines.telemetry import without_telemetry
from heatlens.errors import CompileError
from heatlens.types import Floats
from heatlens_torch.graph.graph_file import write_graph

LEAST_IMAGES = 16


def check_quantizable() -> None:
    """Check that NNCF is installed, before the minutes of exporting.

    Raises:
        CompileError: NNCF is not installed.
    """
    if find_spec("nncf") is None or find_spec("onnxruntime") is None:
        raise CompileError("an 8-bit trunk needs NNCF and ONNX Runtime: pip install 'heatlens[int8]'")


def import_nncf() -> Any:  # noqa: ANN401 - NNCF has no types
    """Import NNCF without its usage statistics."""
    with without_telemetry():
        import nncf
    return nncf


def quantize(layer: Layer, images: Floats, folder: Path, *, plain: bool = False) -> Graph:
    """Write the layer's trunk with 8-bit weights and activations, whose ranges are taken from images.

    NNCF's post-training quantization: activations per tensor, biases corrected for the error of both. The graph says
    where it rounds (QuantizeLinear, DequantizeLinear), so every engine that reads ONNX does the same. The tail stays in
    float32: it is small, and its gradient is what is explained.

    Args:
        layer: The layer, its trunk in the folder.
        images: `[N,3,H,W]`, preprocessed; not those that its agreement is measured on.
        folder: The model folder.
        plain: One range for all weights of an operation instead of one for each channel, and symmetric ranges only:
            coarser, but every engine runs it.

    Raises:
        CompileError: NNCF cannot quantize it.
    """
    [image] = layer.trunk.inputs
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # progress bars
            nncf = import_nncf()
            from nncf.quantization.advanced_parameters import QuantizationParameters

            nncf.set_log_level(40)
            quantized: onnx.ModelProto = nncf.quantize(
                onnx.load(folder / layer.trunk.file),
                nncf.Dataset([images[index : index + 1] for index in range(len(images))], lambda one: {image: one}),
                subset_size=len(images),
                model_type=nncf.ModelType.TRANSFORMER if layer.tokens else None,
                preset=nncf.QuantizationPreset.PERFORMANCE if plain else None,
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    weights_quantization_params=QuantizationParameters(per_channel=False if plain else None)
                ),
            )
    except Exception as error:  # its backends raise many unrelated types
        raise CompileError(f"the trunk up to {layer.name!r} cannot be quantized: {type(error).__name__}") from error
    stem = Path(layer.trunk.file).stem
    return write_graph(quantized, folder / f"{stem}.int8.onnx")
