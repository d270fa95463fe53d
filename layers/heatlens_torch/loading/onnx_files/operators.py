"""Operators of ONNX on tensors, as torch computes them. Sizes, axes and other constants come as NumPy arrays."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch.nn import functional

from heatlens_torch.loading.onnx_files.sizes import (
    Array,
    Attributes,
    axes_of,
    sizes,
    slices,
    split_sizes,
    target_shape,
)

Tensor = torch.Tensor
Value = Tensor | Array

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_AVERAGES = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_MAXIMA = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_SOFTMAX_BY_AXIS = 13  # the opset since which a softmax is of one axis


class UnsupportedNode(Exception):
    """A node says something that is not known here; the message says what."""


def as_tensor(value: Any) -> Tensor:  # noqa: ANN401 - a tensor, or constants
    """Return constants as a tensor."""
    if isinstance(value, Tensor):
        return value
    plain = np.asarray(value)
    return torch.as_tensor(plain.astype(np.int64) if plain.dtype == object else plain)


def _numbers(value: Any) -> list[Any]:  # noqa: ANN401 - constants
    if isinstance(value, Tensor):
        raise UnsupportedNode("its sizes or axes depend on the image")
    found: list[Any] = np.asarray(value).ravel().tolist()
    return found


# ------------------------------------------------------------------------------------------- convolutions and pooling


def _pads(given: Attributes, kernel: Sequence[int], spatial: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the margins before and after each axis."""
    count = len(kernel)
    automatic = given.get("auto_pad", b"NOTSET").decode()
    if automatic in ("NOTSET", ""):
        pads = list(given.get("pads", [0] * 2 * count))
        return pads[:count], pads[count:]
    if automatic == "VALID":
        return [0] * count, [0] * count
    strides, dilations = given.get("strides", [1] * count), given.get("dilations", [1] * count)
    totals = [
        max(0, (-(-size // stride) - 1) * stride + (length - 1) * dilation + 1 - size)
        for size, length, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True)
    ]
    less = [total // 2 for total in totals]
    more = [total - half for total, half in zip(totals, less, strict=True)]
    return (less, more) if automatic == "SAME_UPPER" else (more, less)


def _padded(value: Tensor, before: Sequence[int], after: Sequence[int], fill: float = 0.0) -> Tensor:
    widths = [width for pair in zip(reversed(before), reversed(after), strict=True) for width in pair]
    return functional.pad(value, widths, value=fill) if any(widths) else value


def conv(given: Attributes, value: Tensor, weight: Value, bias: Value | None = None) -> Tensor:
    """Compute Conv; margins may differ on both sides, as of Keras' `same`."""
    weights = as_tensor(weight)
    spatial = value.dim() - 2
    before, after = _pads(given, weights.shape[2:], value.shape[2:])
    same = before == after
    value = value if same else _padded(value, before, after)
    return _CONVOLUTIONS[spatial](
        value,
        weights,
        None if bias is None else as_tensor(bias),
        stride=given.get("strides", [1] * spatial),
        padding=before if same else [0] * spatial,
        dilation=given.get("dilations", [1] * spatial),
        groups=given.get("group", 1),
    )


def conv_transpose(given: Attributes, value: Tensor, weight: Value, bias: Value | None = None) -> Tensor:
    """Compute ConvTranspose with equal margins on both sides."""
    spatial = value.dim() - 2
    pads = list(given.get("pads", [0] * 2 * spatial))
    if pads[:spatial] != pads[spatial:] or "output_shape" in given or given.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise UnsupportedNode("its margins differ on both sides, or are chosen by the size of its output")
    return _TRANSPOSED[spatial](
        value,
        as_tensor(weight),
        None if bias is None else as_tensor(bias),
        stride=given.get("strides", [1] * spatial),
        padding=pads[:spatial],
        output_padding=given.get("output_padding", [0] * spatial),
        groups=given.get("group", 1),
        dilation=given.get("dilations", [1] * spatial),
    )


def average_pool(given: Attributes, value: Tensor) -> Tensor:
    """Compute AveragePool; margins that differ on both sides are not counted unless the node says so."""
    kernel = given["kernel_shape"]
    strides = given.get("strides", [1] * len(kernel))
    if any(each != 1 for each in given.get("dilations", [])):
        raise UnsupportedNode("it has dilations")
    before, after = _pads(given, kernel, value.shape[2:])
    counted, ceil = bool(given.get("count_include_pad", 0)), bool(given.get("ceil_mode", 0))
    pool = _AVERAGES[len(kernel)]
    if before == after and all(2 * pad <= size for pad, size in zip(before, kernel, strict=True)):
        return pool(value, kernel, strides, before, ceil_mode=ceil, count_include_pad=counted)
    pooled = pool(_padded(value, before, after), kernel, strides, 0, ceil_mode=ceil)
    if counted:
        return pooled
    inside = _padded(torch.ones(1, 1, *value.shape[2:]), before, after)
    return pooled / pool(inside, kernel, strides, 0, ceil_mode=ceil)


def max_pool(given: Attributes, value: Tensor) -> Tensor:
    """Compute MaxPool, without its indices."""
    kernel = given["kernel_shape"]
    if given["outputs"] > 1:
        raise UnsupportedNode("it answers the places of its maxima too")
    before, after = _pads(given, kernel, value.shape[2:])
    same = before == after and all(2 * pad <= size for pad, size in zip(before, kernel, strict=True))
    value = value if same else _padded(value, before, after, -math.inf)
    return _MAXIMA[len(kernel)](
        value,
        kernel,
        given.get("strides", [1] * len(kernel)),
        before if same else 0,
        dilation=given.get("dilations", [1] * len(kernel)),
        ceil_mode=bool(given.get("ceil_mode", 0)),
    )


def _places(value: Tensor) -> list[int]:
    return list(range(2, value.dim()))


# ------------------------------------------------------------------------------------------------------- normalization


def _along_channels(value: Value, like: Tensor) -> Tensor:
    return as_tensor(value).reshape(1, -1, *[1] * (like.dim() - 2))


def instance_normalization(given: Attributes, value: Tensor, scale: Value, bias: Value) -> Tensor:
    """Compute InstanceNormalization."""
    dims = _places(value)
    mean = value.mean(dims, keepdim=True)
    variance = (value - mean).square().mean(dims, keepdim=True)
    normal: Tensor = (value - mean) / (variance + given.get("epsilon", 1e-5)).sqrt()
    return normal * _along_channels(scale, value) + _along_channels(bias, value)


def group_normalization(given: Attributes, value: Tensor, scale: Value, bias: Value) -> Tensor:
    """Compute GroupNormalization; until opset 20 scale and bias are of groups."""
    groups, channels = given["num_groups"], value.shape[1]
    weight, offset = as_tensor(scale), as_tensor(bias)
    if len(weight) != channels:
        weight, offset = (each.repeat_interleave(channels // groups) for each in (weight, offset))
    return functional.group_norm(value, groups, weight, offset, given.get("epsilon", 1e-5))


def layer_normalization(given: Attributes, value: Tensor, scale: Value, bias: Value | None = None) -> Tensor:
    """Compute LayerNormalization, its first output."""
    shape = value.shape[given.get("axis", -1) :]
    offset = None if bias is None else as_tensor(bias).expand(shape)
    return functional.layer_norm(value, shape, as_tensor(scale).expand(shape), offset, given.get("epsilon", 1e-5))


def batch_normalization(given: Attributes, value: Tensor, *rest: Value) -> Tensor:
    """Compute BatchNormalization with running statistics."""
    scale, bias, mean, variance = map(as_tensor, rest)
    return functional.batch_norm(value, mean, variance, scale, bias, eps=given.get("epsilon", 1e-5))


def local_response(given: Attributes, value: Tensor) -> Tensor:
    """Compute LRN."""
    return functional.local_response_norm(
        value, given["size"], given.get("alpha", 1e-4), given.get("beta", 0.75), given.get("bias", 1.0)
    )


# --------------------------------------------------------------------------------------------------------- arithmetic


def gemm(given: Attributes, one: Value, two: Value, three: Value | None = None) -> Tensor:
    """Compute Gemm; the common form is torch's linear."""
    left, right = as_tensor(one), as_tensor(two)
    left = left.T if given.get("transA", 0) else left
    alpha, beta = given.get("alpha", 1.0), given.get("beta", 1.0)
    weights = right if given.get("transB", 0) else right.T
    bias = None if three is None else as_tensor(three)
    if alpha == 1.0 and beta == 1.0 and (bias is None or bias.dim() == 1):
        result: Tensor = functional.linear(left, weights, bias)
        return result
    product: Tensor = functional.linear(left, weights) * alpha
    return product if bias is None else product + bias * beta


def _divide(_given: Attributes, one: Value, two: Value) -> Tensor:
    left, right = as_tensor(one), as_tensor(two)
    whole = not left.is_floating_point() and not right.is_floating_point()
    return torch.div(left, right, rounding_mode="trunc") if whole else left / right


def clip(given: Attributes, value: Tensor, *rest: Any) -> Tensor:  # noqa: ANN401 - constants or nothing
    """Compute Clip, whose limits are attributes in early opsets."""
    low, high = (*rest, None, None)[:2]
    low = given.get("min") if low is None else _numbers(low)[0]
    high = given.get("max") if high is None else _numbers(high)[0]
    if low == 0 and high == 6:
        return functional.relu6(value)
    return value if low is None and high is None else torch.clamp(value, low, high)


def _softmax(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def softmax(given: Attributes, value: Tensor) -> Tensor:
        if given["opset"] >= _SOFTMAX_BY_AXIS:
            return function(value, given.get("axis", -1))
        axis = given.get("axis", 1)
        if axis in (-1, value.dim() - 1):
            return function(value, -1)
        return function(value.flatten(axis), -1).reshape(value.shape)

    return softmax


def _reduce(function: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[..., Tensor]:
    def reduce(given: Attributes, value: Tensor, *rest: Any) -> Tensor:  # noqa: ANN401 - axes or nothing
        axes = axes_of(given, rest)
        if not axes:
            if given.get("noop_with_empty_axes", 0):
                return value
            axes = list(range(value.dim()))
        return function(value, axes, bool(given.get("keepdims", 1)))

    return reduce


def _product(value: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001 - called by _reduce
    for axis in sorted((axis % value.dim() for axis in axes), reverse=True):
        value = value.prod(axis, keepdim=keep)
    return value


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def fold(_given: Attributes, *values: Value) -> Tensor:
        found = as_tensor(values[0])
        for value in values[1:]:
            found = function(found, as_tensor(value))
        return found

    return fold


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda _given, one, two: function(as_tensor(one), as_tensor(two))


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda _given, value: function(as_tensor(value))


# -------------------------------------------------------------------------------------------------------------- shapes


def reshape(given: Attributes, value: Tensor, wanted: Value) -> Tensor:
    """Compute Reshape; `batch` of the node says which size grows with the batch, where the file has a number there."""
    shape = target_shape(value.shape, _numbers(wanted), allow_zero=bool(given.get("allowzero", 0)))
    if given.get("batch"):
        source, old, target, new = given["batch"]
        count = value.shape[source]
        shape[target] = count * (new // old) if new % old == 0 else count // (old // new)
    return value.reshape(shape)


def flatten(given: Attributes, value: Tensor) -> Tensor:
    """Compute Flatten to two dimensions."""
    axis = given.get("axis", 1)
    return value.flatten(1) if axis in (1, 1 - value.dim()) else value.reshape(math.prod(value.shape[:axis]), -1)


def squeeze(given: Attributes, value: Tensor, *rest: Any) -> Tensor:  # noqa: ANN401 - axes or nothing
    """Compute Squeeze; without axes every dimension of one but the batch goes."""
    axes = axes_of(given, rest)
    if axes is None:
        axes = [axis for axis in range(1, value.dim()) if value.shape[axis] == 1]
    return value.squeeze([axis % value.dim() for axis in axes])


def unsqueeze(given: Attributes, value: Tensor, *rest: Any) -> Tensor:  # noqa: ANN401 - axes or nothing
    """Compute Unsqueeze."""
    axes = axes_of(given, rest) or []
    total = value.dim() + len(axes)
    for axis in sorted(axis % total for axis in axes):
        value = value.unsqueeze(axis)
    return value


def transpose(given: Attributes, value: Tensor) -> Tensor:
    """Compute Transpose, which reverses the dimensions by default."""
    return value.permute(given.get("perm", list(reversed(range(value.dim())))))


def concat(given: Attributes, *values: Value) -> Tensor:
    """Compute Concat; `batch` of the node is a dimension in which constants are repeated for each image."""
    tensors = [as_tensor(value) for value in values]
    axis = given.get("batch")
    if axis is not None:
        count, constant = given["batch_from"], given["batch_constant"]
        size = tensors[count].shape[axis]
        tensors = [_repeated(each, axis, size) if i in constant else each for i, each in enumerate(tensors)]
    return torch.cat(tensors, given["axis"])


def _repeated(value: Tensor, axis: int, count: int) -> Tensor:
    shape = list(value.shape)
    shape[axis] = count
    return value.narrow(axis, 0, 1).expand(shape)


def split(given: Attributes, value: Tensor, *rest: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 - sizes or nothing
    """Compute Split."""
    axis = given.get("axis", 0)
    return torch.split(value, split_sizes(given, value.shape[axis], rest), axis)


def slice_(given: Attributes, value: Tensor, *rest: Any) -> Tensor:  # noqa: ANN401 - constants
    """Compute Slice; negative steps reverse an axis."""
    index = slices(given, value.shape, rest)
    for axis, part in enumerate(index):
        if part.step is not None and part.step < 0:
            places = np.arange(int(value.shape[axis]))[part]
            value = value.index_select(axis, torch.as_tensor(places.copy()))
        elif part != slice(None) and part != slice(None, None, 1):
            value = value[(slice(None),) * axis + (part,)]
    return value


def gather(given: Attributes, value: Value, index: Value) -> Tensor:
    """Compute Gather."""
    source, places = as_tensor(value), as_tensor(index).long()
    axis = given.get("axis", 0) % source.dim()
    if not isinstance(index, Tensor):
        places = torch.where(places < 0, places + int(source.shape[axis]), places)
        if places.dim() == 0:
            return source.select(axis, int(np.asarray(index)) % int(source.shape[axis]))
    found = source.index_select(axis, places.reshape(-1))
    return found.reshape(*source.shape[:axis], *places.shape, *source.shape[axis + 1 :])


def expand(_given: Attributes, value: Value, wanted: Value) -> Tensor:
    """Compute Expand: sizes of 1 grow on either side, and other sizes of the tensor stay."""
    tensor, shape = as_tensor(value), _numbers(wanted)
    lacking = len(shape) - tensor.dim()
    own = [1] * max(0, lacking) + list(tensor.shape)
    shape = [1] * max(0, -lacking) + shape
    return tensor.expand([_larger(mine, other) for mine, other in zip(own, shape, strict=True)])


def _larger(mine: Any, other: Any) -> Any:  # noqa: ANN401 - numbers or symbols
    return other if isinstance(mine, int) and mine == 1 else mine


def pad(given: Attributes, value: Tensor, *rest: Any) -> Tensor:  # noqa: ANN401 - constants or nothing
    """Compute Pad."""
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    mode = modes[given.get("mode", b"constant").decode()]
    widths = list(given["pads"]) if "pads" in given else _numbers(rest[0])
    fill = given.get("value", 0.0) if len(rest) < 2 or rest[1] is None else _numbers(rest[1])[0]
    axes = _numbers(rest[2]) if len(rest) > 2 and rest[2] is not None else list(range(len(widths) // 2))
    half, pairs = len(widths) // 2, [(0, 0)] * value.dim()
    for axis, before, after in zip(axes, widths[:half], widths[half:], strict=True):
        pairs[axis] = (before, after)
    if mode == "constant" and min(map(min, pairs)) < 0:
        raise UnsupportedNode("it cuts margins off")
    while len(pairs) > 1 and pairs[0] == (0, 0) and (mode == "constant" or len(pairs) > value.dim() - 2):
        pairs = pairs[1:]
    flat = [width for pair in reversed(pairs) for width in pair]
    if not any(flat):
        return value
    return functional.pad(value, flat, mode, fill) if mode == "constant" else functional.pad(value, flat, mode)


def depth_to_space(given: Attributes, value: Tensor) -> Tensor:
    """Compute DepthToSpace."""
    size, (_, channels, height, width) = given["blocksize"], value.shape
    if given.get("mode", b"DCR") == b"CRD":
        return functional.pixel_shuffle(value, size)
    parts = value.reshape(-1, size, size, channels // size**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(-1, channels // size**2, height * size, width * size)


def space_to_depth(given: Attributes, value: Tensor) -> Tensor:
    """Compute SpaceToDepth."""
    size, (_, channels, height, width) = given["blocksize"], value.shape
    parts = value.reshape(-1, channels, height // size, size, width // size, size).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(-1, channels * size**2, height // size, width // size)


def resize(given: Attributes, value: Tensor, *rest: Any) -> Tensor:  # noqa: ANN401 - constants or nothing
    """Compute Resize and Upsample to a fixed size, in the forms that torch has."""
    size = _resized(given, value, rest)
    mode = given.get("mode", b"nearest").decode()
    how = given.get("coordinate_transformation_mode", b"asymmetric" if given["opset"] < 11 else b"half_pixel").decode()
    if size == list(value.shape[2:]):
        return value
    if given.get("antialias", 0) or value.dim() != 4:
        raise UnsupportedNode("it resizes with antialiasing, or other than two dimensions")
    whole = all(new % old == 0 for new, old in zip(size, value.shape[2:], strict=True))
    if mode == "nearest" and (whole or (how == "asymmetric" and given.get("nearest_mode") == b"floor")):
        return functional.interpolate(value, size, mode="nearest")
    if mode == "linear" and how in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return functional.interpolate(value, size, mode="bilinear", align_corners=how == "align_corners")
    if mode == "cubic" and how in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return functional.interpolate(value, size, mode="bicubic", align_corners=how == "align_corners")
    raise UnsupportedNode(f"it resizes by {mode} with {how}")


def _resized(given: Attributes, value: Tensor, rest: Sequence[Any]) -> list[int]:
    """Return the new height and width, from sizes or from scales."""
    if "scales" in given:
        scales, wanted = list(given["scales"]), list[Any]()
    elif given["opset"] < 11 or len(rest) == 1:
        scales, wanted = _numbers(rest[0]), []
    else:
        scales = _numbers(rest[1]) if len(rest) > 1 and rest[1] is not None else []
        wanted = _numbers(rest[2]) if len(rest) > 2 and rest[2] is not None else []
    if given.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise UnsupportedNode("it keeps the aspect ratio")
    count = value.dim() - 2
    if wanted:
        return [int(each) for each in wanted[-count:]]
    return [int(size * scale) for size, scale in zip(value.shape[2:], scales[-count:], strict=True)]


def cast(given: Attributes, value: Tensor) -> Tensor:
    """Compute Cast; whole numbers that go in as an image are floats already, and stay."""
    kinds = {TensorProto.INT64: torch.int64, TensorProto.INT32: torch.int32, TensorProto.BOOL: torch.bool}
    kind = kinds.get(given["to"], torch.float32)
    return value if value.dtype == kind else value.to(kind)


def _where(_given: Attributes, condition: Value, one: Value, two: Value) -> Tensor:
    return torch.where(as_tensor(condition).bool(), as_tensor(one), as_tensor(two))


def _tile(_given: Attributes, value: Tensor, repeats: Value) -> Tensor:
    return value.repeat(_numbers(repeats))


def _constant_of_shape(given: Attributes, shape: Value) -> Tensor:
    value = np.asarray(given.get("value", np.zeros(1, np.float32))).ravel()[0]
    return torch.full(_numbers(shape), value.item())


def _gelu(given: Attributes, value: Tensor) -> Tensor:
    return functional.gelu(value, approximate=given.get("approximate", b"none").decode())


def _prelu(_given: Attributes, value: Tensor, slope: Value) -> Tensor:
    return torch.where(value > 0, value, value * as_tensor(slope))


OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": _unary(torch.abs),
    "Add": _binary(torch.add),
    "And": _binary(torch.logical_and),
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "CastLike": lambda _given, value, _like: as_tensor(value),
    "Ceil": _unary(torch.ceil),
    "Celu": lambda given, value: functional.celu(value, given.get("alpha", 1.0)),
    "Clip": clip,
    "Concat": concat,
    "ConstantOfShape": _constant_of_shape,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Cos": _unary(torch.cos),
    "DepthToSpace": depth_to_space,
    "Div": _divide,
    "Dropout": lambda _given, value, *_rest: value,
    "Einsum": lambda given, *values: torch.einsum(given["equation"].decode(), *map(as_tensor, values)),
    "Elu": lambda given, value: functional.elu(value, given.get("alpha", 1.0)),
    "Equal": _binary(torch.eq),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": expand,
    "Flatten": flatten,
    "Floor": _unary(torch.floor),
    "Gather": gather,
    "GatherElements": lambda given, value, index: torch.gather(value, given.get("axis", 0), as_tensor(index).long()),
    "Gelu": _gelu,
    "Gemm": gemm,
    "GlobalAveragePool": lambda _given, value: value.mean(_places(value), keepdim=True),
    "GlobalMaxPool": lambda _given, value: value.amax(_places(value), keepdim=True),
    "Greater": _binary(torch.gt),
    "GreaterOrEqual": _binary(torch.ge),
    "GroupNormalization": group_normalization,
    "HardSigmoid": lambda given, value: torch.clamp(value * given.get("alpha", 0.2) + given.get("beta", 0.5), 0, 1),
    "HardSwish": lambda _given, value: functional.hardswish(value),
    "Identity": lambda _given, value: value,
    "InstanceNormalization": instance_normalization,
    "LRN": local_response,
    "LayerNormalization": layer_normalization,
    "LeakyRelu": lambda given, value: functional.leaky_relu(value, given.get("alpha", 0.01)),
    "Less": _binary(torch.lt),
    "LessOrEqual": _binary(torch.le),
    "Log": _unary(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "MatMul": _binary(torch.matmul),
    "Max": _folded(torch.maximum),
    "MaxPool": max_pool,
    "Mean": lambda given, *values: _folded(torch.add)(given, *values) / len(values),
    "Min": _folded(torch.minimum),
    "Mish": lambda _given, value: functional.mish(value),
    "Mod": _binary(torch.remainder),
    "Mul": _binary(torch.mul),
    "Neg": _unary(torch.neg),
    "Not": _unary(torch.logical_not),
    "Or": _binary(torch.logical_or),
    "PRelu": _prelu,
    "Pad": pad,
    "Pow": lambda _given, value, power: as_tensor(value).pow(as_tensor(power)),
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceL1": _reduce(lambda value, axes, keep: value.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduce(lambda value, axes, keep: value.square().sum(axes, keepdim=keep).sqrt()),
    "ReduceLogSumExp": _reduce(lambda value, axes, keep: value.logsumexp(axes, keepdim=keep)),
    "ReduceMax": _reduce(lambda value, axes, keep: value.amax(axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda value, axes, keep: value.mean(axes, keepdim=keep)),
    "ReduceMin": _reduce(lambda value, axes, keep: value.amin(axes, keepdim=keep)),
    "ReduceProd": _reduce(_product),
    "ReduceSum": _reduce(lambda value, axes, keep: value.sum(axes, keepdim=keep)),
    "ReduceSumSquare": _reduce(lambda value, axes, keep: value.square().sum(axes, keepdim=keep)),
    "Relu": _unary(functional.relu),
    "Reshape": reshape,
    "Resize": resize,
    "Round": _unary(torch.round),
    "Selu": lambda _given, value: functional.selu(value),
    "Shape": lambda given, value: sizes(value.shape[given.get("start", 0) : given.get("end")]),
    "Sigmoid": _unary(torch.sigmoid),
    "Sign": _unary(torch.sign),
    "Sin": _unary(torch.sin),
    "Slice": slice_,
    "Softmax": _softmax(torch.softmax),
    "Softplus": _unary(functional.softplus),
    "Softsign": _unary(functional.softsign),
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Sqrt": _unary(torch.sqrt),
    "Squeeze": squeeze,
    "Sub": _binary(torch.sub),
    "Sum": _folded(torch.add),
    "Tanh": _unary(torch.tanh),
    "ThresholdedRelu": lambda given, value: torch.where(
        value > given.get("alpha", 1.0), value, torch.zeros_like(value)
    ),
    "Tile": _tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Upsample": resize,
    "Where": _where,
}
