"""Regions compared with a flood fill, their contours with an even-odd filling pixel by pixel."""

from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from heatlens.errors import InvalidOption
from heatlens.evaluate import components
from heatlens.evaluate.components import Mask
from heatlens.evaluate.contours import Polygon
from heatlens.evaluate.regions import Region, Regions, find_regions
from heatlens.render.color import levels
from heatlens.types import Box, Floats

HEATS = (0.0, 0.25, 0.5, 0.75, 1.0)  # multiples of 1/4 at a threshold of 1/2: no rounding decides
Pixels = set[tuple[int, int]]


def heats() -> st.SearchStrategy[Floats]:
    shapes = array_shapes(min_dims=2, max_dims=2, max_side=12)
    return shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=st.sampled_from(HEATS)))


def of(rows: str) -> Floats:
    """A heat of 1 where the rows, divided by spaces, have a `#`."""
    return np.array([[mark == "#" for mark in row] for row in rows.split()], np.float32)


def drawn_at(heat: Floats, left: int = 0, top: int = 0) -> Box:
    """The box that shows each cell as one pixel."""
    return left, top, left + heat.shape[1], top + heat.shape[0]


def flood_fill(mask: Mask) -> list[Pixels]:
    """Components one pixel at a time, in reading order of their first."""
    left = {(int(x), int(y)): None for y, x in np.argwhere(mask)}
    found = []
    while left:
        component, front = set(), [next(iter(left))]
        while front:
            x, y = front.pop()
            if (x, y) in left:
                del left[x, y]
                component.add((x, y))
                front += [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]
        found.append(component)
    return found


def filled(contours: tuple[Polygon, ...], width: int, height: int) -> Pixels:
    """Find the pixels from whose center a ray to the left crosses the polygons an odd number of times."""
    inside = set()
    for y in range(height):
        for x in range(width):
            crossings = 0
            for polygon in contours:
                for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
                    crossings += x0 == x1 and x0 < x + 0.5 and min(y0, y1) < y + 0.5 < max(y0, y1)
            if crossings % 2:
                inside.add((x, y))
    return inside


def turning(polygon: Polygon) -> int:
    """Twice the signed area: positive for clockwise on the screen, where y points down."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True))


def slow(heat: Floats, threshold: float) -> list[tuple[float, Pixels]]:
    """Return peak and pixels of each region, in their order."""

    def rank(found: tuple[float, Pixels]) -> tuple[float, ...]:
        peak, pixels = found
        return -peak, -len(pixels), min(y for _, y in pixels), min(x for x, _ in pixels)

    regions = [(max(float(heat[y, x]) for x, y in pixels), pixels) for pixels in flood_fill(heat >= threshold)]
    return sorted(regions, key=rank)


def check_region(region: Region, heat: Floats, peak: float, pixels: Pixels) -> None:
    columns, rows = zip(*pixels, strict=True)
    assert region.box == (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
    assert region.area == len(pixels)
    assert region.peak_heat == pytest.approx(peak, abs=1e-6)
    hottest = min((y, x) for x, y in pixels if heat[y, x] == peak)
    assert region.peak == hottest[::-1]
    assert region.mean_heat == pytest.approx(np.mean([heat[y, x] for x, y in pixels]), abs=1e-6)
    assert region.contours is not None
    check_contours(region.contours, heat, pixels)


def check_contours(contours: tuple[Polygon, ...], heat: Floats, pixels: Pixels) -> None:
    assert filled(contours, heat.shape[1], heat.shape[0]) == pixels
    outer, *holes = contours
    assert turning(outer) > 0
    assert all(turning(hole) < 0 for hole in holes)
    assert sum(map(turning, contours)) == 2 * len(pixels)
    for polygon in contours:
        assert len(polygon) % 2 == 0
        for (x0, y0), (x1, y1), (x2, y2) in zip(
            polygon, polygon[1:] + polygon[:1], polygon[2:] + polygon[:2], strict=True
        ):
            assert (x0 == x1) != (y0 == y1), "an edge is horizontal or vertical, and has a length"
            assert (x0 == x1) != (x1 == x2), "a vertex is a corner"
            assert (y0 == y1) != (y1 == y2)


@given(heats())
@example(of("#"))
@example(of(".#. #.# .#."))  # four apart, no hole
@example(of("### #.# ###"))  # a hole
@example(of("### #.# ##."))  # what would be a hole is open at a corner
@example(of("##### #...# #.#.# #...# #####"))  # one inside the hole of another
@example(of("#.# ### #.#"))
@example(of("#. .#"))
@example(of(".# #."))
@example(np.zeros((3, 4), np.float32))
def test_regions_are_those_of_a_flood_fill_and_contours_fill_to_them(heat: Floats) -> None:
    found = find_regions(heat, drawn_at(heat))
    expected = slow(heat, 0.5)
    assert found.found == len(expected)
    for region, (peak, pixels) in zip(found.regions, expected, strict=True):
        check_region(region, heat, peak, pixels)


@given(heats(), st.integers(0, 50), st.integers(0, 50))
def test_a_region_moves_with_the_box(heat: Floats, left: int, top: int) -> None:
    here, there = find_regions(heat, drawn_at(heat)), find_regions(heat, drawn_at(heat, left, top))
    assert len(here.regions) == len(there.regions)
    for near, far in zip(here.regions, there.regions, strict=True):
        assert far.box == tuple(np.add(near.box, (left, top, left, top)).tolist())
        assert far.peak == (near.peak[0] + left, near.peak[1] + top)
        assert far.contours == tuple(tuple((x + left, y + top) for x, y in polygon) for polygon in near.contours or ())
        assert (far.area, far.peak_heat, far.mean_heat) == (near.area, near.peak_heat, near.mean_heat)


@pytest.mark.parametrize("level", [1, 64, 127, 128, 200, 255])
@pytest.mark.parametrize("size", [(40, 31), (5, 3), (1, 1)])
def test_regions_are_exactly_what_is_drawn_at_a_level_or_over(size: tuple[int, int], level: int) -> None:
    heat = np.random.default_rng(4).random((7, 7), dtype=np.float32)
    box = (3, 2, 3 + size[0], 2 + size[1])
    picture = levels(heat, (60, 50), box)(0, 50) >= level

    found = find_regions(heat, box, threshold=(level - 0.5) / 255)

    shown = np.zeros_like(picture)
    for region in found.regions:
        for x, y in filled(region.contours or (), 60, 50):
            shown[y, x] = True
    assert (shown == picture).all()


def test_a_full_picture_is_one_rectangle() -> None:
    found = find_regions(np.ones((3, 3), np.float32), (10, 20, 74, 50), threshold=1)
    corners = ((10, 20), (74, 20), (74, 50), (10, 50))
    assert found == Regions(1, 1, (Region((10, 20, 74, 50), 64 * 30, (10, 20), 1.0, 1.0, (corners,)),))


def test_the_hottest_comes_first_then_the_largest() -> None:
    heat = of("##.#.### ........ ##.#....")
    heat[0, 5] = 0.75
    heat[0, 6:] = 0.5
    heat[2, 3] = 0.75
    boxes = [region.box for region in find_regions(heat, drawn_at(heat)).regions]
    assert boxes == [(0, 0, 2, 1), (0, 2, 2, 3), (3, 0, 4, 1), (5, 0, 8, 1), (3, 2, 4, 3)]


def test_regions_over_the_bound_are_counted() -> None:
    heat = of("#.#.# ..... #.#.#")
    heat[2, 4] = 0.75
    heat[0] *= 0.5
    found = find_regions(heat, drawn_at(heat), max_regions=3)
    assert found.found == 6
    assert [region.box[:2] for region in found.regions] == [(0, 2), (2, 2), (4, 2)]
    full = find_regions(heat, drawn_at(heat))
    assert found.regions == full.regions[:3]


def test_contours_over_the_bound_are_left_out_whole() -> None:
    heat = of("#######. #.#.#.#. ........ ##...##.")  # 16 vertices, and two of 4
    contours = [region.contours for region in find_regions(heat, drawn_at(heat), max_vertices=19).regions]
    assert [None if found is None else sum(map(len, found)) for found in contours] == [16, None, None]
    small = [region.contours for region in find_regions(heat, drawn_at(heat), max_vertices=8).regions]
    assert [None if found is None else sum(map(len, found)) for found in small] == [None, 4, 4]
    assert [region.area for region in find_regions(heat, drawn_at(heat), max_vertices=0).regions] == [11, 2, 2]


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan")])
def test_rejects_a_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(InvalidOption, match=r"threshold is .*: it must be over 0 and at most 1"):
        find_regions(np.ones((2, 2), np.float32), (0, 0, 2, 2), threshold=threshold)


def comb(side: int) -> Mask:
    """Teeth that only the last row joins."""
    mask = np.zeros((side, side), np.bool_)
    mask[:, ::2] = mask[-1] = True
    return mask


def spiral(side: int) -> Mask:
    """One line, a pixel wide, wound from the rim to the middle."""
    mask = np.zeros((side, side), np.bool_)
    y, x, dy, dx = 0, -1, 0, 1
    arms = [side, *(length for length in range(side - 1, 0, -2) for _ in (0, 1))]
    for arm in arms:
        for _ in range(arm):
            y, x = y + dy, x + dx
            mask[y, x] = True
        dy, dx = dx, -dy
    return mask


def chessboard(side: int) -> Mask:
    mask = np.zeros((side, side), np.bool_)
    mask[::2, ::2] = mask[1::2, 1::2] = True
    return mask


def speckle(side: int) -> Mask:
    return np.random.default_rng(1).random((side, side)) < 0.6


@pytest.mark.parametrize(
    ("mask", "expected"), [(comb(256), 1), (comb(256).T, 1), (comb(256)[::-1], 1), (spiral(255), 1)]
)
def test_winding_masks_are_one_component(mask: Mask, expected: int) -> None:
    assert len(set(components.components(components.runs_of(mask)).tolist())) == expected


@pytest.mark.parametrize("mask", [comb(300), comb(300)[::-1], spiral(301), chessboard(300), speckle(300)])
def test_components_take_few_rounds_whatever_the_shape(mask: Mask, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Mock(wraps=components._merge)
    monkeypatch.setattr(components, "_merge", rounds)
    found = components.runs_of(mask)

    components.components(found)

    assert rounds.call_count <= np.log2(len(found.rows))
