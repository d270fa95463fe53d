"""Write backward operators that have no conversion to ONNX in terms of forward operators.

Each function takes the gradient of an operator's output and returns that of its input.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

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
    """Differentiate a convolution by its transpose, a transposed one by the convolution; weights get no gradient."""
    if transposed:
        return _convolution(gradient, weight, stride, padding, dilation, groups), None, None
    reached = _reached(gradient, weight.shape[2:], stride, dilation)
    missing = [
        size - (full - 2 * pad) for size, full, pad in zip(value.shape[2:], reached, padding, strict=True)
    ]  # rows and columns that the stride did not reach
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
    """Give every cell of a window the window's gradient, divided by the number of cells that the window counts."""
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
    """Give the window's gradient to the first of its largest cells, row by row.

    Engines number the cells of a pooling in different ways and differ on ties, which are common after a ReLU. So the
    largest cells are found again by comparing, and a transposed convolution with one-hot kernels returns the gradient.
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
    """Return zeros: in torch's derivatives of SiLU and Mish `1 - x` starts from an uninitialized tensor."""
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
    """Convolve; with `missing` convolve transposed, the output being larger by that much."""
    transposed = missing is not None
    result: Tensor = aten.convolution(
        value, weight, None, stride, padding, dilation, transposed, missing or [0, 0], groups
    )
    return result


def _pair(numbers: Sequence[int]) -> Pair:
    return (numbers[0], numbers[-1])


def _reached(windows: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Compute the height and width that the windows cover together, padding included."""
    sizes = zip(windows.shape[2:], kernel, stride, dilation, strict=True)
    return [(count - 1) * s + d * (k - 1) + 1 for count, k, s, d in sizes]


def _counted(start: int, kernel: int, size: int, padding: int, *, padded: bool) -> int:
    """Count the cells along one axis of an averaging window, with the padding or without it."""
    end = min(start + kernel, size + padding)
    return end - start if padded else min(end, size) - max(start, 0)


def _scattered(shares: Tensor, weight: Tensor, value: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Put every window's share back in its place, sum where windows overlap, and remove the padding."""
    channels = value.shape[1]
    full = _convolution(shares, weight, stride, (0, 0), dilation, channels, missing=[0, 0])
    sizes = list(zip(value.shape[2:], padding, full.shape[2:], strict=True))
    (height, top, reached_down), (width, left, reached_right) = sizes
    missing = [0, max(0, left + width - reached_right), 0, max(0, top + height - reached_down)]
    if any(missing):
        full = _padded(full, missing, 0.0)
    inside: Tensor = full[:, :, top : top + height, left : left + width]
    return inside


def _padded(value: Tensor, around: Sequence[int], fill: float) -> Tensor:
    """Add cells left, right, above and below by concatenation: torch's padding would fix the batch while traced."""
    for dim, (before, after) in ((3, around[:2]), (2, around[2:])):
        shapes = [[*value.shape[:dim], width, *value.shape[dim + 1 :]] for width in (before, after)]
        first, last = (value.new_full(shape, fill) for shape in shapes)
        value = torch.cat([first, value, last], dim=dim)
    return value


def _windows(
    value: Tensor,
    offsets: Sequence[Pair],
    grid: Sequence[int],
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> list[Tensor]:
    """List, for each place in a window, the cells at that place of all windows, `[B,C,h,w]`."""
    spans = [(count - 1) * s + 1 for count, s in zip(grid, stride, strict=True)]
    beyond = [
        max(0, span + d * (k - 1) - size - p)
        for span, d, k, size, p in zip(spans, dilation, kernel, value.shape[2:], padding, strict=True)
    ]
    around = [padding[1], beyond[1], padding[0], beyond[0]]
    padded = _padded(value, around, float("-inf")) if any(around) else value
    return [
        padded[
            :,
            :,
            row * dilation[0] : row * dilation[0] + spans[0] : stride[0],
            column * dilation[1] : column * dilation[1] + spans[1] : stride[1],
        ]
        for row, column in offsets
    ]
