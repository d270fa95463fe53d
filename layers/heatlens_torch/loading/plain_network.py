"""Make what a factory returns a plain network in float32, without the wrappers and modes of a training program."""

from collections.abc import Callable

import torch
from torch import nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

from heatlens.errors import ModelFileError

_WRAPPERS = (DataParallel, DistributedDataParallel, AveragedModel)
_QUANTIZED = "quantized"


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside data parallelism, an average of weights, or torch.compile.

    A module inside the network that was compiled is replaced too; so no path has `module.` or `_orig_mod.` in front.

    Raises:
        ModelFileError: It has a module that no graph can be made of; the message names it.
    """
    while isinstance(network, (OptimizedModule, *_WRAPPERS)):
        network = getattr(network, "_orig_mod" if isinstance(network, OptimizedModule) else "module")
    for module in list(network.modules()):
        if module._compiled_call_impl is not None:
            module._compiled_call_impl = None  # of `module.compile()`
        for name, child in module._modules.items():
            if isinstance(child, OptimizedModule):
                module._modules[name] = child._orig_mod
    for name, module in network.named_modules():
        _check(name, module)
    return network


def make_float32(network: nn.Module) -> str:
    """Cast weights of another precision to float32, and take weights out of inference mode; changed in place.

    A network that mixes precisions is left as it is: its code converts between them.

    Returns:
        What was cast, such as `float16 to float32`; empty if nothing was.
    """
    kinds = {tensor.dtype for tensor in network.parameters() if tensor.is_floating_point()}
    [kind] = kinds if len(kinds) == 1 else [torch.float32]
    cast = kind != torch.float32
    _replace(network, lambda tensor: tensor.float() if cast and tensor.is_floating_point() else tensor)
    return cast_name({kind}) if cast else ""


def cast_name(kinds: set[torch.dtype]) -> str:
    """Say what is cast to float32, if any of the kinds is another floating point."""
    others = [kind for kind in kinds if kind.is_floating_point and kind != torch.float32]
    names = sorted(str(kind).removeprefix("torch.") for kind in others)
    return f"{', '.join(names)} to float32" if names else ""


def _replace(network: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change every tensor that needs it; a tensor with several names stays one."""
    known: dict[int, torch.Tensor] = {}
    for module in network.modules():
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is None:
                continue
            if id(tensor) not in known:
                known[id(tensor)] = _changed(tensor, change)
            if known[id(tensor)] is not tensor:
                entries = module._parameters if name in module._parameters else module._buffers
                entries[name] = known[id(tensor)]  # type: ignore[assignment]  # a parameter stays one


def _changed(tensor: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode(mode=False):
        value = change(tensor.detach())
        if value.dtype == tensor.dtype and not tensor.is_inference():
            return tensor
        value = value.clone()
        return nn.Parameter(value, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value


def _check(name: str, module: nn.Module) -> None:
    what = f"module {name!r}" if name else "network"
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelFileError(
            f"architecture: its {what} is TorchScript (torch.jit), which has no layers to explain: build it from its "
            "Python class, and load its state dict"
        )
    if _QUANTIZED in type(module).__module__.split("."):
        raise ModelFileError(
            f"architecture: its {what} ({type(module).__name__}) is quantized, and integers have no gradient: build "
            "the network before quantization; compile --int8 makes a trunk in 8 bits"
        )
    if any(is_lazy(parameter) for parameter in module.parameters(recurse=False)):
        raise ModelFileError(
            f"architecture: its {what} ({type(module).__name__}) is lazy and has no weights yet: run the network once "
            "on a batch of images in the factory, or give the number of its inputs"
        )
