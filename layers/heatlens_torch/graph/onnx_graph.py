"""Convert a graph to ONNX with named tensors, a dynamic batch, and the same bytes for the same weights."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import nn
from torch.export import Dim, ExportedProgram, default_decompositions

from heatlens.card import OWNERS, SELECTOR
from heatlens.errors import CompileError
from heatlens_torch.errors import INSTEAD, reason
from heatlens_torch.graph.expand_late import expand_late
from heatlens_torch.graph.no_shuffle import unshuffle
from heatlens_torch.graph.reduce_deeper import reduce_deeper
from heatlens_torch.graph.untie_weights import untie_transposed_weights

BATCH, ROWS = "batch", "rows"
MOST_BYTES = 2_000_000_000  # a protocol buffer holds 2 GiB; the card has no digest for weights in separate files


def to_onnx(
    module: nn.Module,
    examples: tuple[torch.Tensor, ...],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    place: str,
) -> onnx.ModelProto:
    """Convert a graph, weights inside.

    Args:
        module: Positional tensors in, one tensor or a tuple out.
        examples: Inputs; dimension 0 of each is the batch.
        inputs: Names, as many as examples.
        outputs: Names, as many as the module returns.
        place: Which part of the network this is, for messages.

    Raises:
        CompileError: An operator has no conversion, or fixes the batch, or the weights are too many for one file.
    """
    model = _convert(module, examples, inputs=inputs, outputs=outputs, place=place)
    _name_batch(model, place)
    untie_transposed_weights(model)
    expand_late(model)
    unshuffle(model)
    reduce_deeper(model)
    _strip(model)
    onnx.checker.check_model(model)
    return model


def _convert(
    module: nn.Module,
    examples: tuple[torch.Tensor, ...],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    place: str,
) -> onnx.ModelProto:
    try:
        program = torch.export.export(module, examples, dynamic_shapes=tuple({0: Dim.AUTO} for _ in examples))
        _decompose_once(program)
        converted = torch.onnx.export(
            program,
            input_names=inputs,
            output_names=outputs,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except Exception as error:  # the tools below raise many unrelated types
        raise CompileError(f"the network {place} cannot be converted to ONNX: {reason(error)}") from error
    assert converted is not None
    weights = [weight.const_value for weight in converted.model.graph.initializers.values()]
    size = sum(weight.nbytes for weight in weights if weight is not None)
    if size > MOST_BYTES:
        raise CompileError(
            f"the network {place} has {size / 1e9:.1f} GB of weights, and an ONNX file without others holds "
            f"{MOST_BYTES / 1e9:.1f}; {INSTEAD}"
        )
    return converted.model_proto


def _decompose_once(program: ExportedProgram) -> None:
    """Let the conversion decompose by torch's default table too, when it decomposes by its own.

    Each of the two would trace the network again, and that takes seconds.
    """
    decompose = program.run_decompositions

    def decompose_by_both(table: Mapping[Any, Callable[..., Any]] | None = None) -> ExportedProgram:
        decomposed: ExportedProgram = decompose({**default_decompositions(), **(table or {})})
        return decomposed

    program.run_decompositions = decompose_by_both


def _name_batch(model: onnx.ModelProto, place: str) -> None:
    for value in model.graph.input:
        first = value.type.tensor_type.shape.dim[0]
        if not first.dim_param:
            raise CompileError(f"the network {place} fixes the size of the batch")
    symbols = {
        value.type.tensor_type.shape.dim[0].dim_param: ROWS if value.name in (SELECTOR, OWNERS) else BATCH
        for value in model.graph.input
    }
    for value in [*model.graph.input, *model.graph.output]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_param = symbols[dim.dim_param]


def _strip(model: onnx.ModelProto) -> None:
    """Drop debugging data: its stack traces contain local paths, which would change the file's digest."""
    graph = model.graph
    model.doc_string = graph.doc_string = ""
    del graph.value_info[:]
    del model.metadata_props[:]
    del graph.metadata_props[:]
    for part in [*graph.node, *graph.initializer, *graph.input, *graph.output, *model.functions]:
        part.doc_string = ""
        del part.metadata_props[:]
    for function in model.functions:
        del function.value_info[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]
