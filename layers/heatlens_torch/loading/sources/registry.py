"""The schemes of `scheme:reference`, and the module of each."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from heatlens.errors import ModelFileError
from heatlens_torch.loading.sources.base import Facts, Source

if TYPE_CHECKING:
    from heatlens_torch.loading.built_network import BuiltNetwork

# Scheme: its module in this package, what it needs besides the extra torch (an extra, or a library), what it takes.
SOURCES = {
    "hf": ("hf", "'heatlens[hf]'", "a folder of transformers' save_pretrained"),
    "timm": ("timm_models", "'heatlens[timm]'", "a folder of timm's save_for_hf, or a name with --weights FILE"),
    "onnx": ("onnx_file", "'heatlens[onnx]'", "an ONNX file of a classifier"),
    "xrv": ("xrv", "torchxrayvision", "a state dict of torchxrayvision"),
    "monai": ("monai_bundle", "monai", "a MONAI bundle"),
    "mlflow": ("mlflow_folder", "", "a folder of MLflow's PyTorch flavor"),
    "torchvision": ("torchvision_names", "", "a network of torchvision by name"),
    "torch.export": ("exported", "", "a .pt2 file of torch.export"),
}


def split(architecture: str) -> tuple[str, str] | None:
    """Split `scheme:reference`; `None` if it has none of the schemes."""
    scheme, _, reference = architecture.partition(":")
    return (scheme, reference) if scheme in SOURCES and reference else None


def facts_of(architecture: str, home: Path, given: Mapping[str, Any]) -> Facts:
    """Return what the source of an architecture finds; nothing if it is no source's.

    Raises:
        ModelFileError: The owner's files are missing or of another kind, or the source's library is not installed.
    """
    parts = split(architecture)
    return _call(parts[0], "facts", parts[1], home, given) if parts else Facts()


def build(architecture: str, home: Path, given: Mapping[str, Any]) -> "BuiltNetwork":
    """Build the network of a source that brings its weights.

    Raises:
        ModelFileError: The source cannot, or its library is not installed.
    """
    scheme, _, reference = architecture.partition(":")
    built: BuiltNetwork = _call(scheme, "build", reference, home, given)
    path = home / reference
    named = f"{scheme}:{path.resolve().name}" if path.exists() else architecture  # where it lies is the owner's affair
    return replace(built, source={"architecture": named} | built.source)


def _call(scheme: str, function: str, *arguments: object) -> Any:  # noqa: ANN401 - the two functions of a source
    module, needs, _ = SOURCES[scheme]
    try:
        return getattr(_source(module), function)(*arguments)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not needs or missing in ("torch", "heatlens_torch"):
            raise
        raise ModelFileError(f"architecture: {scheme}: needs {missing}: pip install {needs}") from error


def _source(module: str) -> Source:
    found: ModuleType = import_module(f"heatlens_torch.loading.sources.{module}")
    return cast(Source, found)
