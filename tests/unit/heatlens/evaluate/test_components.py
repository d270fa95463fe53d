import numpy as np
import pytest

from heatlens.evaluate.components import Mask, components, runs_of


def flood_filled(mask: Mask) -> list[list[int]]:
    """Number the components pixel by pixel, in reading order; -1 outside of the mask."""
    height, width = mask.shape
    numbers = np.full(mask.shape, -1)
    count = 0
    for start in zip(*np.nonzero(mask), strict=True):
        if numbers[start] >= 0:
            continue
        queue = [start]
        while queue:
            row, column = queue.pop()
            if 0 <= row < height and 0 <= column < width and mask[row, column] and numbers[row, column] < 0:
                numbers[row, column] = count
                queue += [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        count += 1
    filled: list[list[int]] = numbers.tolist()
    return filled


def drawn(mask: Mask) -> list[list[int]]:
    """Number the components of the runs, drawn as pixels."""
    runs = runs_of(mask)
    numbers = np.full(mask.shape, -1)
    for row, start, stop, number in zip(runs.rows, runs.starts, runs.stops, components(runs), strict=True):
        numbers[row, start:stop] = number
    pixels: list[list[int]] = numbers.tolist()
    return pixels


@pytest.mark.parametrize("share", [0.1, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (7, 7), (20, 33)])
def test_components_are_those_of_a_flood_fill(shape: tuple[int, int], share: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(5):
        mask = random.random(shape) < share
        assert drawn(mask) == flood_filled(mask)


def test_pixels_that_share_only_a_corner_are_not_connected() -> None:
    assert drawn(np.eye(3, dtype=np.bool_)) == [[0, -1, -1], [-1, 1, -1], [-1, -1, 2]]


@pytest.mark.parametrize(("value", "count"), [(False, 0), (True, 4)])
def test_an_empty_and_a_full_mask_have_a_run_for_each_full_row(value: bool, count: int) -> None:  # noqa: FBT001
    runs = runs_of(np.full((4, 5), value))

    assert (len(runs.rows), runs.starts.tolist(), runs.stops.tolist()) == (count, [0] * count, [5] * count)
