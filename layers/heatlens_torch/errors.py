"""Turn what a network or torch raises into one sentence that says what works instead."""

import inspect
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import fx, nn

from heatlens.errors import CompileError, ModelError

INSTEAD = 'in Python heatlens_torch.uncompiled.explain("model.toml", images) explains it without compiling'
WITHOUT_GRADIENTS = (
    "compile it for maps without gradients, by Recipro-CAM: --no-gradients (in model.toml gradients = false)"
)
LONGEST_SENTENCE = 240
_OPERATOR = re.compile(r"\b(?:aten|prims|torchvision|higher_order)(?:::|\.)(\w+)")
_DATA_DEPENDENT = re.compile(r"data.?dependent", re.IGNORECASE)
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_LIBRARIES = ("site-packages", "lib/python3", str(Path(__file__).parent), "<")


def reason(error: BaseException) -> str:
    """Name the operator if any error of the chain names one, else say what the error says, and what works instead."""
    if any(_DATA_DEPENDENT.search(f"{type(cause).__name__} {cause}") for cause in _chain(error)):
        return (
            f"its Python code depends on the values of the image{place(error)}, as `if x.sum() > 0`, float(x) and "
            f"x.item() do: write it with torch.where(), or leave it out; {INSTEAD}"
        )
    for cause in _chain(error):
        operator = _OPERATOR.search(str(cause))
        if operator:
            return f"operator {operator[1]} has no conversion{place(error)}; {INSTEAD}"
    return f"{sentence(error)}{place(error)}; {INSTEAD}"


def sentence(error: BaseException) -> str:
    """Return the error's type and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = lines[0].rstrip(".") if lines else ""
    words = words if len(words) <= LONGEST_SENTENCE else words[:LONGEST_SENTENCE] + "…"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def place(error: BaseException) -> str:
    """Return ` (file:line)` of the last line of the user's code that the error passed, or nothing."""
    found = (place_of(traceback.extract_tb(cause.__traceback__)) for cause in _chain(error))
    return next(filter(None, found), "")


def place_of(frames: Sequence[traceback.FrameSummary]) -> str:
    """Return ` (file:line)` of the last frame in the user's code, or nothing."""
    own = [frame for frame in frames if _is_own(frame.filename)]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def _required(network: nn.Module | None) -> list[str]:
    """List the names that the network's forward cannot do without."""
    found = inspect.signature(network.forward).parameters.values() if network else ()
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in found if each.default is each.empty and each.kind in named]


def place_of_node(node: fx.Node) -> str:
    """Return ` (file:line)` of the last line of the user's code that made an operation of a graph, or nothing."""
    frames = [frame for frame in _FRAME.findall(node.meta.get("stack_trace") or "") if _is_own(frame[0])]
    return f" ({Path(frames[-1][0]).name}:{frames[-1][1]})" if frames else ""


def _is_own(file: str) -> bool:
    return not any(part in file for part in _LIBRARIES)


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


@contextmanager
def running(shape: Sequence[int], network: nn.Module | None = None) -> Iterator[None]:
    """Turn whatever the network raises on images of `shape` `[B,3,H,W]` into a `CompileError`.

    Args:
        shape: Of the batch.
        network: Helps to say why.

    Raises:
        CompileError: The network raised; its error is the cause. Errors of Heatlens pass unchanged.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise CompileError(
            f"the network does not run on an image batch of shape {tuple(shape)}: it raises {sentence(error)}"
            f"{place(error)}; {_hint(network, shape, error)}"
        ) from error


def _hint(network: nn.Module | None, shape: Sequence[int], error: Exception) -> str:
    """Say what keeps the network from running: a mode, other inputs, or a convolution that takes another image."""
    if "nference tensor" in str(error):
        return "leave out torch.inference_mode() in its code: no gradient passes it"
    takes = _required(network)
    if len(takes) > 1:
        return f"its forward() takes {', '.join(takes)}: say which is the image (input_entry), and give constants"
    modules = dict(network.named_modules()) if network else {}
    training = next((name for name, module in modules.items() if name and module.training), "")
    if training:
        return f"its module {training!r} is in training mode, and an image can come alone: call eval() on it"
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    first = next((module for module in modules.values() if isinstance(module, kinds)), None)
    if isinstance(first, nn.Conv3d | nn.Conv1d):
        return f"it is a {first.weight.dim() - 2}D network: only networks of images [B,C,H,W] can be compiled"
    if isinstance(first, nn.Conv2d) and first.in_channels != shape[1]:
        return f"its first convolution takes {first.in_channels} channels, and the preprocessing makes {shape[1]}"
    return "is it made for several images at once, and for the channels and the size that `preprocess` says?"
