"""Load a `torch.export` file (.pt2) as a network with its modules' paths.

A .pt2 is a program, and torch's reader does not protect against hostile files: it unpickles anything, loads compiled
libraries and evaluates expressions. Accepted are files that need none of this: tensors, a graph, and sizes that are
sums and products of symbols.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heatlens.errors import ModelFileError

EXPORT_LINE = "torch.export.export(model.eval(), (image,), dynamic_shapes=({0: torch.export.Dim.AUTO},))"

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_MODELS = re.compile(r"models/[^/]+\.json")
_HARMLESS = re.compile(
    r"models/[^/]+\.json|data/weights/(weight_\d+|[^/]+\.(json|pt))|data/constants/(tensor_\d+|[^/]+\.(json|pt))"
    r"|data/sample_inputs/[^/]+\.pt|archive_format|archive_version|version|byteorder|\.data/(version|serialization_id)"
)
# Sizes are written as sympy's own notation, such as Mul(Integer(64), Symbol('s40', positive=True, integer=True)).
_WORD = re.compile(r"'[^']*'|[A-Za-z_]\w*")
_ARITHMETIC_WORD = re.compile(
    r"'?[su]\d+'?|Symbol|Integer|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|positive|integer|True"
)
_ARITHMETIC = re.compile(r"[\w\s+\-*/%(),=']*")


class Program(nn.Module):
    """An unflattened program under its own module paths, called with the image alone."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        # The same modules and tensors as `inner`, which itself must not appear in any path.
        self._modules, self._parameters, self._buffers = inner._modules, inner._parameters, inner._buffers
        self.__dict__["_inner"] = inner

    def forward(self, image: torch.Tensor) -> object:
        """Run the program on an image batch `[B,3,H,W]`."""
        return self.__dict__["_inner"](image)


def load_program(path: Path) -> nn.Module:
    """Read a `torch.export` file.

    Raises:
        ModelFileError: It is missing, holds more than a program and its tensors, has a fixed batch, or does not take
            exactly one image batch.
    """
    if path.suffix != ".pt2":
        raise ModelFileError(f"architecture: {path.name} is not a .pt2 file of torch.export")
    if not path.is_file():
        raise ModelFileError(f"architecture: {path.name}: no such file beside the model description")
    _check_archive(path)
    try:
        with tensors_only():
            program = torch.export.load(path)
    except Exception as error:  # torch.export raises many unrelated types
        raise ModelFileError(f"architecture: {path.name} cannot be read by this torch ({torch.__version__})") from error
    _check_input(program, path.name)
    try:
        return Program(torch.export.unflatten(program)).eval()
    except Exception as error:
        raise ModelFileError(f"architecture: {path.name} cannot be taken apart into its modules") from error


def _check_archive(path: Path) -> None:
    try:
        # The reader that torch.export.load uses, so that both see the same members.
        from torch.export.pt2_archive._package import PT2ArchiveReader

        reader = PT2ArchiveReader(str(path))
        names = reader.get_file_names()
        expressions = [
            each for name in names if _MODELS.fullmatch(name) for each in _sizes(json.loads(reader.read_bytes(name)))
        ]
    except Exception as error:  # the reader is C++
        raise ModelFileError(f"architecture: {path.name} is not a .pt2 file of torch.export") from error
    strange = [name for name in names if not _HARMLESS.fullmatch(name)]
    strange += [text for text in expressions if not _is_arithmetic(text)]
    if strange:
        raise ModelFileError(
            f"architecture: {path.name} holds more than a program and its tensors ({strange[0][:60]!r}), which "
            "could run code: export the plain network"
        )


def _sizes(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield every expression that the reader would evaluate."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "expr_str":
                yield str(inner)
            yield from _sizes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _sizes(inner)


def _is_arithmetic(text: str) -> bool:
    return bool(_ARITHMETIC.fullmatch(text)) and all(map(_ARITHMETIC_WORD.fullmatch, _WORD.findall(text)))


@contextmanager
def tensors_only() -> Iterator[None]:
    """Set torch's own switch so that only tensors are unpickled, whatever the caller asks for."""
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before


def _check_input(program: torch.export.ExportedProgram, name: str) -> None:
    inputs = program.graph_signature.user_inputs
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    images = [values.get(str(each)) for each in inputs]
    if len(images) != 1 or not isinstance(images[0], torch.Tensor) or images[0].dim() != 4:
        raise ModelFileError(f"architecture: {name} does not take one image batch [B,3,H,W]")
    if isinstance(images[0].shape[0], int):
        raise ModelFileError(
            f"architecture: {name} was exported for a batch of {images[0].shape[0]} alone: export it again with "
            f"{EXPORT_LINE}"
        )
