"""Operators on sizes and constants, in NumPy: what they compute is known while the network is traced.

The size of the batch may be a symbol of torch. An array of sizes then has `dtype=object`, and NumPy calls the symbol's
own arithmetic.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

Array = npt.NDArray[Any]
Attributes = Mapping[str, Any]
MOST_VALUES = 1 << 28  # of one constant: a hostile file must not fill the memory

_INTEGERS = (np.integer, np.bool_, np.object_)


def sizes(values: Sequence[Any]) -> Array:
    """Return sizes as an array, of objects where one is a symbol."""
    return np.array(values, np.int64 if all(type(value) is int for value in values) else object)


def axes_of(given: Attributes, rest: Sequence[Any], name: str = "axes") -> list[int] | None:
    """Return axes from an attribute (of earlier opsets) or from an input; `None` where neither is there."""
    if name in given:
        return list(given[name])
    return [int(each) for each in np.asarray(rest[0]).ravel()] if rest and rest[0] is not None else None


def target_shape(shape: Sequence[Any], wanted: Sequence[Any], *, allow_zero: bool = False) -> list[Any]:
    """Return the sizes of a Reshape, in which 0 copies a size; -1 stays."""
    return [
        shape[i] if isinstance(size, int) and size == 0 and not allow_zero else size for i, size in enumerate(wanted)
    ]


def cast(_given: Attributes, value: Array, kind: int) -> Array:
    """Cast constants; sizes that are symbols stay."""
    if value.dtype == object:
        return value
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
    return value.astype(np.float32 if kind in (TensorProto.FLOAT16, TensorProto.DOUBLE) else dtype)


def _limited(shape: Sequence[int]) -> tuple[int, ...]:
    if math.prod(shape) > MOST_VALUES:
        raise ValueError(f"a constant of shape {tuple(shape)} is too large")
    return tuple(int(size) for size in shape)


def _divide(_given: Attributes, one: Array, two: Array) -> Array:
    return one // two if _is_integer(one) and _is_integer(two) else np.asarray(one / two)


def _is_integer(value: Array) -> bool:
    return issubclass(value.dtype.type, _INTEGERS)


def _reshape(given: Attributes, value: Array, wanted: Array) -> Array:
    return value.reshape([int(each) for each in target_shape(value.shape, wanted.tolist())])


def _squeeze(given: Attributes, value: Array, *rest: Array) -> Array:
    axes = axes_of(given, rest)
    return np.asarray(np.squeeze(value, None if axes is None else tuple(axes)))


def _unsqueeze(given: Attributes, value: Array, *rest: Array) -> Array:
    return np.expand_dims(value, tuple(axes_of(given, rest) or ()))


def _slice(given: Attributes, value: Array, *rest: Array) -> Array:
    return value[slices(given, value.shape, rest)]


def slices(given: Attributes, shape: Sequence[Any], rest: Sequence[Any]) -> tuple[slice, ...]:
    """Return the index of a Slice, whose starts, ends, axes and steps are attributes in early opsets."""
    if "starts" in given:
        starts, ends = list(given["starts"]), list(given["ends"])
        axes, steps = list(given.get("axes", range(len(starts)))), [1] * len(starts)
    else:
        lists = [None if each is None else np.asarray(each).ravel().tolist() for each in (*rest, None, None)][:4]
        starts, ends = lists[0] or [], lists[1] or []
        axes, steps = lists[2] or list(range(len(starts))), lists[3] or [1] * len(starts)
    index = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[axis] = _one_slice(start, end, step)
    return tuple(index)


def _one_slice(start: Any, end: Any, step: int) -> slice:  # noqa: ANN401 - a number or a symbol
    far = 1 << 31
    if isinstance(end, int) and abs(end) >= far - 1:
        end = None
    if isinstance(start, int) and abs(start) >= far - 1:
        start = None
    return slice(None if isinstance(start, int) and start == 0 and step > 0 else start, end, step)


def _gather(given: Attributes, value: Array, index: Array) -> Array:
    return np.asarray(np.take(value, index.astype(np.int64), axis=given.get("axis", 0)))


def _concat(given: Attributes, *values: Array) -> Array:
    return np.concatenate(values, axis=given["axis"])


def _split(given: Attributes, value: Array, *rest: Array) -> tuple[Array, ...]:
    axis = given.get("axis", 0)
    parts = split_sizes(given, value.shape[axis], rest)
    return tuple(np.split(value, np.cumsum(parts)[:-1], axis=axis))


def split_sizes(given: Attributes, size: int, rest: Sequence[Any]) -> list[int]:
    """Return the sizes of the parts of a Split."""
    if "split" in given:
        return list(given["split"])
    if rest and rest[0] is not None:
        return [int(each) for each in np.asarray(rest[0]).ravel()]
    count = given.get("num_outputs", given["outputs"])
    part = -(-size // count)
    return [part] * (count - 1) + [size - part * (count - 1)]


def _constant_of_shape(given: Attributes, shape: Array) -> Array:
    value = np.asarray(given.get("value", np.zeros(1, np.float32))).ravel()[0]
    return np.full(_limited(shape.tolist()), value)


def _expand(_given: Attributes, value: Array, shape: Array) -> Array:
    return np.array(np.broadcast_to(value, _limited(np.broadcast_shapes(value.shape, tuple(shape.tolist())))))


def _range(_given: Attributes, start: Array, limit: Array, delta: Array) -> Array:
    first, last, step = (each.item() if each.dtype != object else each.ravel()[0] for each in (start, limit, delta))
    _limited([int(max(0, (last - first) / step))])
    values: Array = np.arange(float(first), float(last), float(step)).astype(start.dtype)
    return values


def _where(_given: Attributes, condition: Array, one: Array, two: Array) -> Array:
    return np.where(condition.astype(bool), one, two)


def _reduce(function: Callable[..., Any]) -> Callable[..., Array]:
    def reduce(given: Attributes, value: Array, *rest: Array) -> Array:
        axes = axes_of(given, rest)
        return np.asarray(function(value, axis=tuple(axes) if axes else None, keepdims=bool(given.get("keepdims", 1))))

    return reduce


def _scatter_nd(_given: Attributes, value: Array, index: Array, updates: Array) -> Array:
    found = value.copy()
    found[tuple(np.moveaxis(index.astype(np.int64), -1, 0))] = updates
    return found


def _tile(_given: Attributes, value: Array, repeats: Array) -> Array:
    counts = repeats.tolist()
    _limited([size * count for size, count in zip(value.shape, counts, strict=True)])
    return np.tile(value, counts)


def _plain(function: Callable[..., Any]) -> Callable[..., Array]:
    return lambda _given, *values: np.asarray(function(*values))


SIZES: dict[str, Callable[..., Any]] = {
    "Abs": _plain(np.abs),
    "Add": _plain(np.add),
    "And": _plain(np.logical_and),
    "Cast": lambda given, value: cast(given, value, given["to"]),
    "Ceil": _plain(lambda value: value if value.dtype == object else np.ceil(value)),
    "Concat": _concat,
    "Constant": lambda given: constant(given),
    "ConstantOfShape": _constant_of_shape,
    "Div": _divide,
    "Equal": _plain(np.equal),
    "Exp": _plain(np.exp),
    "Expand": _expand,
    "Floor": _plain(lambda value: value if value.dtype == object else np.floor(value)),
    "Gather": _gather,
    "Greater": _plain(np.greater),
    "Identity": _plain(lambda value: value),
    "Less": _plain(np.less),
    "Log": _plain(np.log),
    "Max": _plain(lambda *values: np.maximum.reduce(np.broadcast_arrays(*values))),
    "Min": _plain(lambda *values: np.minimum.reduce(np.broadcast_arrays(*values))),
    "Mod": _plain(np.mod),
    "Mul": _plain(np.multiply),
    "Neg": _plain(np.negative),
    "Not": _plain(np.logical_not),
    "Or": _plain(np.logical_or),
    "Pow": _plain(np.power),
    "Range": _range,
    "Reciprocal": _plain(lambda value: 1 / value),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Reshape": _reshape,
    "ScatterND": _scatter_nd,
    "Shape": lambda given, value: sizes(value.shape[given.get("start", 0) : given.get("end")]),
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _plain(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plain(np.subtract),
    "Tile": _tile,
    "Transpose": lambda given, value: np.transpose(value, given.get("perm")),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}


def constant(given: Attributes) -> Array:
    """Return the value of a Constant node."""
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in given:
            kind = np.float32 if "float" in name else np.int64 if "int" in name else None
            return np.asarray(given[name], kind)
    raise ValueError("a Constant of no numbers")
