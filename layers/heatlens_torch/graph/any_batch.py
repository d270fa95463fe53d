"""Free a captured graph from the size of the batch that it was captured with.

Python code that takes the size out of a tensor, as `len(x)` and `int(x.shape[0])` do, leaves the number itself in the
graph. Two captures of different sizes show which numbers follow the size. Those become expressions of it.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from heatlens.errors import CompileError
from heatlens_torch.errors import INSTEAD, place_of_node

SIZES = (1, 2, 4, 9)  # of the batches that a freed graph is compared with its network on
TOLERANCE = 1e-4  # of the largest logit
_FAITHFUL = "take sizes from tensors without len(), int() and loops, as x.flatten(2) and x.shape[0] do"


def has_fixed_batch(captured: fx.GraphModule) -> bool:
    """Tell whether the graph was captured for one size of batch."""
    return not is_symbolic(_image(captured.graph).meta["val"])


def free_batch(captured: fx.GraphModule, other: fx.GraphModule, network: nn.Module) -> None:
    """Let a graph take any batch, by comparing it with a capture of another size; changed in place.

    Numbers that differ are written as `factor * size + offset`. The result is compared with the network on batches of
    several sizes, because nothing else shows that a number follows the size in this way.

    Args:
        captured: With a batch fixed to one size.
        other: The same network, captured with a batch of another size.
        network: In evaluation mode.

    Raises:
        CompileError: The graphs have different operations, or the freed one computes something else; the message names
            the line of the user's code.
    """
    sizes = _Sizes(captured, other)
    image = _image(captured.graph)
    pairs = list(zip(captured.graph.nodes, other.graph.nodes, strict=False))
    for node, its in pairs:
        if node.op != its.op or node.target != its.target:
            raise _fixed(node, "repeats an operation for each image of its batch")
        node.args = sizes.free(node, node.args, its.args)
        node.kwargs = sizes.free(node, node.kwargs, its.kwargs)
    if len(captured.graph.nodes) != len(pairs) + sizes.added or len(other.graph.nodes) != len(pairs):
        raise _fixed(pairs[-1][0], "repeats an operation for each image of its batch")
    captured.graph.lint()
    captured.recompile()
    _compare(captured, network, _shape(image)[1:])
    _follow_shapes(captured, image)


class _Sizes:
    """Writes the numbers of two graphs as expressions of the size of the batch."""

    def __init__(self, captured: fx.GraphModule, other: fx.GraphModule) -> None:
        self._captured, self._other = captured, other
        self._image = _image(captured.graph)
        self._sizes = _shape(self._image)[0], _shape(_image(other.graph))[0]
        self._known: dict[tuple[int, int], fx.Node] = {}
        self.added = 0

    def free(self, node: fx.Node, value: Any, its: Any) -> Any:  # noqa: ANN401 - the arguments of any operator
        """Return `value` with every number that follows the size replaced; `its` is the other capture's."""
        if isinstance(value, fx.Node):
            self._check_constant(node, value, its)
            return value
        if isinstance(value, dict) and isinstance(its, dict) and value.keys() == its.keys():
            return {key: self.free(node, each, its[key]) for key, each in value.items()}
        if isinstance(value, list | tuple) and isinstance(its, list | tuple) and len(value) == len(its):
            return type(value)(self.free(node, one, two) for one, two in zip(value, its, strict=True))
        if type(value) is int and type(its) is int and value != its:
            return self._expression(node, value, its)
        if value != its:
            raise _fixed(node, "computes with the number of images of its batch")
        return value

    def _expression(self, node: fx.Node, one: int, two: int) -> fx.Node:
        factor, rest = divmod(two - one, self._sizes[1] - self._sizes[0])
        if rest:
            raise _fixed(node, "computes with the number of images of its batch")
        offset = one - factor * self._sizes[0]
        size = self._image_size()
        if (factor, offset) not in self._known:
            product = size if factor == 1 else self._call(size, operator.mul, factor)
            self._known[factor, offset] = product if offset == 0 else self._call(product, operator.add, offset)
        return self._known[factor, offset]

    def _image_size(self) -> fx.Node:
        if (1, 0) not in self._known:
            self._known[1, 0] = self._call(self._image, torch.ops.aten.sym_size.int, 0)
        return self._known[1, 0]

    def _call(self, after: fx.Node, function: Callable[..., Any], number: int) -> fx.Node:
        self.added += 1
        with self._captured.graph.inserting_after(after):
            return self._captured.graph.call_function(function, (after, number))

    def _check_constant(self, node: fx.Node, value: fx.Node, its: object) -> None:
        """Refuse a tensor that Python made from the size, such as `torch.tensor([0.0] * len(x))`."""
        if value.op == "get_attr" and isinstance(its, fx.Node) and its.op == "get_attr":
            one, two = _attribute(self._captured, value), _attribute(self._other, its)
            if one is not two and not (one.shape == two.shape and torch.equal(one, two)):
                raise _fixed(node, "has a constant with a value for each image of its batch")


def _image(graph: fx.Graph) -> fx.Node:
    image: fx.Node = next(node for node in graph.nodes if node.op == "placeholder")
    return image


def _shape(node: fx.Node) -> list[int]:
    """List the sizes of a value; torch.export has symbols with a value for a batch that it has fixed."""
    return [int(size) for size in node.meta["val"].shape]


def _attribute(module: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    assert isinstance(value, torch.Tensor)
    return value


def _follow_shapes(captured: fx.GraphModule, image: fx.Node) -> None:
    """Compute the shapes of all values again, now that the batch is a symbol."""
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    batch = symbolic_batch(mode, torch.empty(_shape(image)))
    with mode:
        _Shapes(captured).run(batch)
    if not is_symbolic(batch):
        raise _fixed(image, "works on one size of batch only")


class _Shapes(fx.Interpreter):
    """Runs a graph on fake tensors, and notes the values that its operators give."""

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - what the operator answers
        try:
            result = super().run_node(n)
        except Exception as error:  # operators raise many unrelated types
            raise _fixed(n, "works on one size of batch only") from error
        if n.op in ("placeholder", "call_function"):
            n.meta["val"] = result
        return result


def symbolic_batch(mode: FakeTensorMode, value: torch.Tensor) -> torch.Tensor:
    """Make a fake tensor whose batch alone is symbolic: with every dimension symbolic tracing takes minutes."""
    sizes = [DimDynamic.DUCK] + [DimDynamic.STATIC] * (value.dim() - 1)
    return mode.from_tensor(value.contiguous(), symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes))


def is_symbolic(value: torch.Tensor) -> bool:
    """Tell whether the batch of a fake tensor is still a symbol, which no operator has fixed."""
    batch: object = value.shape[0]  # typed as int, which it is only once it is fixed
    return isinstance(batch, torch.SymInt) and batch.node.maybe_as_int() is None


def _compare(captured: fx.GraphModule, network: nn.Module, shape: Sequence[int]) -> None:
    freed = fx.GraphModule(captured, captured.graph)  # without the hook that demands the size of the capture
    for size in SIZES:
        batch = torch.randn(size, *shape, generator=torch.Generator().manual_seed(size))
        with torch.no_grad():
            expected = network(batch)
            try:
                answer = freed(batch)
            except RuntimeError as error:
                raise _differs(size) from error
        far = answer.shape != expected.shape or (answer - expected).abs().max() > TOLERANCE * expected.abs().max()
        if far:
            raise _differs(size)


def _differs(size: int) -> CompileError:
    return CompileError(
        f"the network computes with the number of images of its batch, and its graph answers a batch of {size} "
        f"otherwise: {_FAITHFUL}; {INSTEAD}"
    )


def _fixed(node: fx.Node, what: str) -> CompileError:
    return CompileError(f"the network {what}{place_of_node(node)}: {_FAITHFUL}; {INSTEAD}")
