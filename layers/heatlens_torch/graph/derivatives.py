"""Operators of a backward pass without a conversion to ONNX, written as others: gradient of output -> of input."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

aten = torch.ops.aten
Pair = tuple[int, int]


def convolution_backward(
    gradient: Tensor,
    value: Tensor,
    weight: Tensor,
    _bias_sizes: object,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,  # noqa: FBT001 - the operator's own signature
    _output_padding: Sequence[int],
    groups: int,
    _mask: object,
) -> tuple[Tensor, None, None]:
    """Of a convolution its transpose, and of a transposed convolution the convolution; weights get no gradient."""
    if transposed:
        return _convolution(gradient, weight, stride, padding, dilation, groups), None, None
    reached = _reached(gradient, weight.shape[2:], stride, dilation)
    missing = [
        size - (full - 2 * pad) for size, full, pad in zip(value.shape[2:], reached, padding, strict=True)
    ]  # rows and columns that a stride left over
    return _convolution(gradient, weight, stride, padding, dilation, groups, missing=missing), None, None


def avg_pool2d_backward(
    gradient: Tensor,
    value: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    _ceil_mode: bool,  # noqa: FBT001 - the operator's own signature
    count_include_pad: bool,  # noqa: FBT001 - the operator's own signature
    divisor: int | None,
) -> Tensor:
    """Every cell of a window gets the window's gradient, divided by the cells the window counts."""
    kernel, padding = _pair(kernel), _pair(padding)
    stride = _pair(stride) if stride else kernel
    if divisor is None:
        rows, columns = (
            [_counted(at * s - p, k, size, p, padded=count_include_pad) for at in range(out)]
            for out, s, p, k, size in zip(gradient.shape[2:], stride, padding, kernel, value.shape[2:], strict=True)
        )
        counts = torch.tensor(rows, dtype=gradient.dtype)[:, None] * torch.tensor(columns, dtype=gradient.dtype)
        shared = gradient / counts
    else:
        shared = gradient / divisor
    channels = value.shape[1]
    spread = torch.ones(channels, 1, *kernel, dtype=gradient.dtype)
    return _scattered(shared, spread, value, stride, padding, (1, 1))


def max_pool2d_with_indices_backward(
    gradient: Tensor,
    value: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    _ceil_mode: bool,  # noqa: FBT001 - the operator's own signature
    _indices: Tensor,
) -> Tensor:
    """The first of the largest cells of each window, row by row, gets the window's gradient.

    Engines number the cells of a pooling in different ways, and differ on ties, which are common behind a ReLU; so the
    winners are found again by comparing, and handed back by a transposed convolution with one-hot kernels.
    """
    kernel, padding, dilation = _pair(kernel), _pair(padding), _pair(dilation)
    stride = _pair(stride) if stride else kernel
    offsets = list(product(range(kernel[0]), range(kernel[1])))
    cells = _windows(value, offsets, gradient.shape[2:], kernel, stride, padding, dilation)
    largest = cells[0]
    for cell in cells[1:]:
        largest = torch.maximum(largest, cell)
    shares, settled = [], torch.zeros_like(largest, dtype=torch.bool)
    for cell in cells:
        wins = cell == largest
        shares.append(torch.where(wins & ~settled, gradient, 0.0))
        settled = settled | wins
    channels = value.shape[1]
    one_hot = torch.eye(len(offsets), dtype=gradient.dtype).reshape(len(offsets), 1, *kernel).repeat(channels, 1, 1, 1)
    stacked = torch.stack(shares, dim=2).reshape(gradient.shape[0], -1, *gradient.shape[2:])
    return _scattered(stacked, one_hot, value, stride, padding, dilation)


def empty_like(value: Tensor, **_: object) -> Tensor:
    """Zeros: `1 - x` in torch's own derivatives (SiLU, Mish) begins with an unfilled tensor, filled then."""
    return torch.zeros_like(value)


TABLE: dict[Any, Callable[..., Any]] = {
    aten.convolution_backward.default: convolution_backward,
    aten.avg_pool2d_backward.default: avg_pool2d_backward,
    aten.max_pool2d_with_indices_backward.default: max_pool2d_with_indices_backward,
    aten.empty_like.default: empty_like,
}


def _convolution(
    value: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    *,
    missing: Sequence[int] | None = None,
) -> Tensor:
    """A convolution, or where `missing` is given the transposed one, whose output is larger by so much."""
    transposed = missing is not None
    result: Tensor = aten.convolution(
        value, weight, None, stride, padding, dilation, transposed, missing or [0, 0], groups
    )
    return result


def _pair(numbers: Sequence[int]) -> Pair:
    return (numbers[0], numbers[-1])


def _reached(windows: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Height and width that the windows cover together, padding included."""
    sizes = zip(windows.shape[2:], kernel, stride, dilation, strict=True)
    return [(count - 1) * s + d * (k - 1) + 1 for count, k, s, d in sizes]


def _counted(start: int, kernel: int, size: int, padding: int, *, padded: bool) -> int:
    """Cells along one axis that a window of an average counts: up to the padding's end, or inside only."""
    end = min(start + kernel, size + padding)
    return end - start if padded else min(end, size) - max(start, 0)


def _scattered(shares: Tensor, weight: Tensor, value: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Lay every window's share back where the window was, sum, and cut the padding off."""
    channels = value.shape[1]
    full = _convolution(shares, weight, stride, (0, 0), dilation, channels, missing=[0, 0])
    sizes = list(zip(value.shape[2:], padding, full.shape[2:], strict=True))
    (height, top, reached_down), (width, left, reached_right) = sizes
    missing = [0, max(0, left + width - reached_right), 0, max(0, top + height - reached_down)]
    if any(missing):
        full = functional.pad(full, missing)
    inside: Tensor = full[:, :, top : top + height, left : left + width]
    return inside


def _windows(
    value: Tensor,
    offsets: Sequence[Pair],
    grid: Sequence[int],
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> list[Tensor]:
    """For each place in a window, the cells there of all windows, `[B,C,h,w]`."""
    spans = [(count - 1) * s + 1 for count, s in zip(grid, stride, strict=True)]
    beyond = [
        max(0, span + d * (k - 1) - size - p)
        for span, d, k, size, p in zip(spans, dilation, kernel, value.shape[2:], padding, strict=True)
    ]
    around = [padding[1], beyond[1], padding[0], beyond[0]]
    padded = functional.pad(value, around, value=float("-inf")) if any(around) else value
    return [
        padded[
            :,
            :,
            row * dilation[0] : row * dilation[0] + spans[0] : stride[0],
            column * dilation[1] : column * dilation[1] + spans[1] : stride[1],
        ]
        for row, column in offsets
    ]
