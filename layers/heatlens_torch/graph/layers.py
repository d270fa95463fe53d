"""List the layers of a network that can be explained; the last one is the default."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd

from heatlens.card import Tokens
from heatlens.errors import CompileError
from heatlens.steps import COLORS
from heatlens_torch.errors import WITHOUT_GRADIENTS, place, running, sentence
from heatlens_torch.graph import grids, places
from heatlens_torch.graph.attention import Attentions
from heatlens_torch.graph.grids import Layout
from heatlens_torch.graph.undifferentiable import lost_at, refusal

_SAMPLES = 2  # a batch of one would hide which dimension is the batch
_LATEST = 8  # layers are tried for the default before all are
_CLASSES = 16  # at most so many classes must depend on a layer, spread over all
_ROWS = 2  # dimensions of tokens without the batch
_FACTORS = (0.0, 2.0)  # of cells whose effect is tried without gradients
UNDIFFERENTIABLE = "the logits do not depend on the image by operations that can be differentiated"
_HEADS = 3  # of the queries and keys of an attention


@dataclass(frozen=True, slots=True)
class Candidate:
    """A module with a grid: its path, its class, the grid's `(C, h, w)`, and its layout if it is not `[B,C,h,w]`."""

    name: str
    kind: str
    shape: tuple[int, int, int]
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A module with a grid that is not offered, and why; `late` if it ends after the default layer."""

    name: str
    reason: str
    late: bool = False


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a module returned; `returns_input` if that is its input, unchanged."""

    name: str
    kind: str
    output: torch.Tensor
    version: int
    returns_input: bool


@dataclass(frozen=True, slots=True)
class _Grids:
    """The modules that return a grid and may be layers, those that may not, what was run, and in which order."""

    usable: list[tuple[_Seen, list[Layout]]]
    passed: list[PassedOver]
    image: torch.Tensor
    logits: torch.Tensor
    order: list[str]


@dataclass(frozen=True, slots=True)
class _Survey:
    """The layers that may be explained if their cells follow the image, and the others that have a grid."""

    possible: list[tuple[_Seen, list[Layout]]]
    passed: list[PassedOver]
    order: list[str]


def layers_of(
    network: nn.Module, shape: tuple[int, int], *, channels: int = COLORS, gradients: bool = True
) -> list[Candidate]:
    """List the layers that can be explained, in the order in which they end.

    A layer can be explained if it runs once, returns one tensor with a grid of more than one cell, nothing overwrites
    that tensor in place, every class depends on the grid, and its cells are places of the image. After the last
    attention of a transformer with a class token no class does, and every map is empty. Of modules that return the same
    tensor only the outermost that does not merely return its input is listed. Left out are adaptive pooling, which only
    resamples the layer before it, auxiliary heads, and modules inside an attention.

    Args:
        network: In evaluation mode.
        shape: Height and width of its input.
        channels: Of its input.
        gradients: Whether a class depends on a grid by its gradient, otherwise by other logits without the cells.

    Raises:
        CompileError: The network does not run on images of this shape, does not answer `[B,K]`, or cannot be
            differentiated.
    """
    return survey(network, shape, channels=channels, gradients=gradients)[0]


def survey(
    network: nn.Module, shape: tuple[int, int], *, channels: int = COLORS, gradients: bool = True
) -> tuple[list[Candidate], list[PassedOver]]:
    """List the layers that can be explained, and the others with a grid and why they cannot; as `layers_of`."""
    found = _survey(network, _find_grids(network, shape, channels), gradients=gradients)
    layouts = places.following(network, {entry.name: each for entry, each in found.possible}, _noise(shape, channels))
    candidates = [
        Candidate(entry.name, entry.kind, layout.shape, layout.tokens)
        for entry, _ in found.possible
        if (layout := layouts[entry.name]) is not None
    ]
    lost = [PassedOver(name, "its cells do not follow the image") for name, layout in layouts.items() if layout is None]
    position = {name: index for index, name in enumerate(found.order)}
    last = position[candidates[-1].name] if candidates else -1
    passed = sorted([*found.passed, *lost], key=lambda each: position[each.name])
    return candidates, [replace(each, late=position[each.name] > last) for each in passed]


def default_layer(network: nn.Module, shape: tuple[int, int], *, channels: int = COLORS, gradients: bool = True) -> str:
    """Return the last layer that can be explained; the arguments are those of `default_target`."""
    return default_target(network, shape, channels=channels, gradients=gradients)[0]


def default_target(
    network: nn.Module, shape: tuple[int, int], *, channels: int = COLORS, gradients: bool = True
) -> tuple[str, Layout]:
    """Return the last layer that can be explained, and the layout of its output.

    Of the last few layers one that every class depends on is taken without a look at all others, which would be a
    backward pass through the whole network for each class.

    Args:
        network: In evaluation mode.
        shape: Height and width of its input.
        channels: Of its input.
        gradients: As for `layers_of`.

    Raises:
        CompileError: There is none; the message says why the last modules with a grid are none.
    """
    image = _noise(shape, channels)
    target = _last_following(network, _serving_all(network, shape, channels, gradients=gradients), image)
    if target is not None:
        return target
    surveyed = _survey(network, _find_grids(network, shape, channels), gradients=gradients)
    possible = [(entry.name, layouts) for entry, layouts in surveyed.possible]
    target = _last_following(network, possible, image)
    if target is not None:
        return target
    last = "; ".join(f"{each.name!r}: {each.reason}" for each in surveyed.passed[-3:])
    raise CompileError(
        "no layer of the network returns a grid that its logits depend on: there is nothing to map"
        + (f" ({last})" if last else "")
    )


def _last_following(
    network: nn.Module, possible: Sequence[tuple[str, list[Layout]]], image: torch.Tensor
) -> tuple[str, Layout] | None:
    """Return the last of the layers whose cells are places of the image."""
    for name, layouts in reversed(possible):
        layout = places.following(network, {name: layouts}, image)[name]
        if layout is not None:
            return name, layout
    return None


def resolve(network: nn.Module, layer: str, shape: tuple[int, int], *, channels: int = COLORS) -> str:
    """Return the module that makes the output of `layer`: another one if `layer` only returns its input.

    Where no module makes it, as after a function in `forward`, `layer` itself is returned.
    """
    seen, _, _ = _run(network, shape, channels)
    own = [entry for entry in seen if entry.name == layer]
    if len(own) != 1 or not own[0].returns_input:
        return layer
    makers = [entry.name for entry in seen if entry.output is own[0].output and not entry.returns_input]
    return makers[-1] if makers else layer


def _find_grids(network: nn.Module, shape: tuple[int, int], channels: int) -> _Grids:
    """Sort the modules that return a grid."""
    seen, logits, attentions = _run(network, shape, channels)
    found = [(entry, grids.layouts(entry.output.shape[1:], shape)) for entry in seen]
    found = [(entry, layouts) for entry, layouts in found if layouts and layouts[0].height * layouts[0].width > 1]
    reasons = _Reasons(seen, attentions)
    usable, passed = [], []
    for entry, layouts in found:
        reason = reasons.against(entry)
        if reason is None:
            usable.append((entry, layouts))
        elif reason:
            passed.append(PassedOver(entry.name, reason))
    return _Grids(usable, passed, _noise(shape, channels), logits, [entry.name for entry in seen])


def _survey(network: nn.Module, found: _Grids, *, gradients: bool) -> _Survey:
    """Find the layers that every class depends on that depends on any."""
    first = [(entry, layouts[0]) for entry, layouts in found.usable]
    if gradients:
        reached = _reached(network, found.image, found.logits, first)
    else:
        reached = _all_classes(_changing(network, found.image, first), len(first))
    passed = found.passed + [
        PassedOver(entry.name, "not every class depends on its cells")
        for (entry, _), depends in zip(found.usable, reached, strict=True)
        if not depends
    ]
    possible = [pair for pair, depends in zip(found.usable, reached, strict=True) if depends]
    return _Survey(possible, passed, found.order)


def _serving_all(
    network: nn.Module, shape: tuple[int, int], channels: int, *, gradients: bool
) -> list[tuple[str, list[Layout]]]:
    """Find those of the last layers that every class depends on; the activations of all layers are released."""
    found = _find_grids(network, shape, channels)
    recent = found.usable[-_LATEST:] if gradients else found.usable[-1:]
    if not recent or (gradients and not found.logits.requires_grad):
        return []
    first = [(entry, layouts[0]) for entry, layouts in recent]
    by_class = _depending(found.logits, first) if gradients else _changing(network, found.image, first)
    serving = [all(depends) for depends in zip(*by_class, strict=True)]
    return [(entry.name, layouts) for (entry, layouts), serves in zip(recent, serving, strict=True) if serves]


class _Reasons:
    """Say why a module with a grid is no candidate."""

    def __init__(self, seen: Sequence[_Seen], attentions: Attentions) -> None:
        self._runs = Counter(entry.name for entry in seen)
        # Modules end from the inside out; a module that returns its input made nothing.
        self._outermost = {id(entry.output): entry for entry in seen if not entry.returns_input}
        self._rows = {tuple(entry.output.shape[1:]) for entry in seen if entry.output.dim() == _ROWS + 1}
        self._attentions = attentions

    def against(self, entry: _Seen) -> str | None:
        """Return the reason, `None` for a candidate; empty for another name of a tensor that has a better one."""
        maker = self._outermost.get(id(entry.output), entry)
        if maker is not entry:
            return f"it returns the output of {maker.name!r}" if entry.returns_input else ""
        if self._runs[entry.name] > 1:
            return f"it runs {self._runs[entry.name]} times for an image"
        if entry.output._version != entry.version:
            return "its output is overwritten in place"
        if any(part.lower().startswith("aux") for part in entry.name.split(".")):
            return "it is an auxiliary head"
        if self._attentions.around(entry.name) or self._is_per_head(tuple(entry.output.shape[1:])):
            return "it is inside an attention"
        if self._attentions.weighs(entry.output):
            return "it holds the scores of an attention"
        return None

    def _is_per_head(self, shape: tuple[int, ...]) -> bool:
        """Tell whether a tensor holds the tokens of another one apart by heads: `[heads,N,dim]` of `[N,heads*dim]`."""
        if len(shape) != _HEADS:
            return False
        first, second, third = shape
        apart = {(second, first * third)}
        if first != second and second != third and first != third:
            apart |= {(first, second * third), (third, first * second)}
        return bool(apart & self._rows)


def _reached(
    network: nn.Module, image: torch.Tensor, logits: torch.Tensor, usable: Sequence[tuple[_Seen, Layout]]
) -> list[bool]:
    """Tell of each output whether every class that depends on any of them depends on its grid.

    Raises:
        CompileError: The logits cannot be differentiated; the message names the operator.
    """
    if not usable:
        return []
    if not logits.requires_grad:
        raise CompileError(f"{UNDIFFERENTIABLE}: {refusal(network, image)}")
    by_class = _depending(logits, usable)
    if not any(map(any, by_class)) and (culprit := lost_at(network, image)):
        raise CompileError(f"{UNDIFFERENTIABLE}: {culprit} lies between; {WITHOUT_GRADIENTS}")
    return _all_classes(by_class, len(usable))


def _depending(logits: torch.Tensor, usable: Sequence[tuple[_Seen, Layout]]) -> list[list[bool]]:
    """Tell of each of some classes, which are spread over all, on which outputs it depends by its gradient."""
    count = logits.shape[1]
    by_class = []
    for index in sorted({round(step * (count - 1) / (_CLASSES - 1)) for step in range(_CLASSES)}):
        found = gradients(logits[:, index].sum(), [entry.output for entry, _ in usable])
        by_class.append(
            [
                gradient is not None and bool(layout.grid(gradient).any())
                for gradient, (_, layout) in zip(found, usable, strict=True)
            ]
        )
    return by_class


def _changing(network: nn.Module, image: torch.Tensor, usable: Sequence[tuple[_Seen, Layout]]) -> list[list[bool]]:
    """Tell of each class which outputs change it: without their cells, or with others."""
    with torch.no_grad():
        logits = network(image)
        changed = [_changed(network, image, logits, entry.name, layout) for entry, layout in usable]
    return [list(each) for each in zip(*changed, strict=True)]


def _changed(network: nn.Module, image: torch.Tensor, logits: torch.Tensor, name: str, layout: Layout) -> list[bool]:
    """Tell of each class whether its logit changes where the cells are erased, or doubled."""
    changed = torch.zeros(logits.shape[1], dtype=torch.bool)
    for factor in _FACTORS:
        mask = torch.full((layout.height, layout.width), factor)
        module = network.get_submodule(name)
        hook = module.register_forward_hook(lambda _module, _input, output, mask=mask: layout.masked(output, mask))
        try:
            changed |= (network(image) != logits).any(dim=0)
        finally:
            hook.remove()
    return [bool(each) for each in changed]


def _all_classes(by_class: Sequence[Sequence[bool]], count: int) -> list[bool]:
    """Tell of each of `count` outputs whether all classes depend on it that depend on any."""
    known = [depends for depends in by_class if any(depends)]
    return [bool(known) and all(depends[at] for depends in known) for at in range(count)]


def gradients(value: torch.Tensor, outputs: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
    """Differentiate `value`; `None` for an output that it does not depend on.

    Raises:
        CompileError: torch cannot differentiate the network.
    """
    varying = [output for output in outputs if output.requires_grad]
    try:
        found = iter(torch.autograd.grad(value, varying, retain_graph=True, allow_unused=True))
    except RuntimeError as error:
        raise CompileError(
            f"the network cannot be differentiated: {sentence(error)}{place(error)}; an operation in place "
            f"(x *= y) after an activation is written as x = x * y; {WITHOUT_GRADIENTS}"
        ) from error
    return [next(found) if output.requires_grad else None for output in outputs]


def _noise(shape: tuple[int, int], channels: int) -> torch.Tensor:
    return torch.randn(_SAMPLES, channels, *shape, generator=torch.Generator().manual_seed(0))


def _run(network: nn.Module, shape: tuple[int, int], channels: int) -> tuple[list[_Seen], torch.Tensor, Attentions]:
    """Record every module's output on noise, which unlike a blank image activates some unit of every layer."""
    seen: list[_Seen] = []
    given: dict[str, dict[int, int]] = {}

    def watch(name: str, module: nn.Module) -> None:
        def begin(_module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)]
            given[name] = {id(each): each._version for each in tensors}

        def end(_module: nn.Module, _input: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point() and output.shape[:1] == (_SAMPLES,):
                unchanged = given[name].get(id(output)) == output._version
                seen.append(_Seen(name, type(module).__name__, output, output._version, unchanged))

        handles.append(module.register_forward_pre_hook(begin, with_kwargs=True))
        handles.append(module.register_forward_hook(end))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name, module in network.named_modules():
        if name and not isinstance(module, _AdaptiveAvgPoolNd | _AdaptiveMaxPoolNd):
            watch(name, module)
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.requires_grad_(requires_grad=False)
    image = _noise(shape, channels)
    try:
        with running(image.shape, network), torch.enable_grad(), Attentions.of(network) as attentions:
            logits = network(image.requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
        for parameter in trainable:
            parameter.requires_grad_()
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
        raise CompileError("the network's output is not one tensor of logits [B,K]")
    return seen, logits, attentions
