"""Legends: below the picture, which stays as it is, and readable at every size."""

import numpy as np
import pytest
from PIL import Image

from heatlens.dicom_out.legend import MIN_WIDTH, with_legend

LINES = ["OPACITY 0.9532", "a line of many words " * 20, "Not for diagnostic use"]


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (64, 80), (1024, 300), (4000, 50)])
def test_a_legend_covers_no_pixel(width: int, height: int) -> None:
    drawn = picture(width, height)

    whole = np.asarray(with_legend(drawn, LINES, "jet"))

    assert np.array_equal(whole[:height, :width], np.asarray(drawn))
    assert whole.shape[1] == max(width, MIN_WIDTH)
    assert whole.shape[0] > height
    assert not whole[:, [0, -1]][height:].any(), "a line of the legend reaches the edge"
    assert not whole[-1].any(), "the last line of the legend is cut off"


def test_a_long_word_is_broken_and_all_of_its_letters_are_shown() -> None:
    one, broken = (with_legend(picture(240, 1), [word], "jet").height for word in ("A" * 5, "A" * 500))

    assert broken > 10 * one / 5


def test_the_bar_has_the_colors_of_the_map() -> None:
    gray = np.asarray(with_legend(picture(600, 10), ["x"], "gray"))
    row = gray[10 + 8]
    bar = row[(row[:, 0] == row[:, 1]) & (row[:, 1] == row[:, 2]), 0].astype(int)

    assert {0, 128, 255} <= set(bar.tolist())


def test_letters_that_the_font_lacks_are_question_marks() -> None:
    drawn, marks = (np.asarray(with_legend(picture(240, 1), [text], "jet")) for text in ("肺炎", "??"))

    assert np.array_equal(drawn[1:], marks[1:])


def test_the_lines_are_below_the_bar() -> None:
    picture = Image.new("RGB", (300, 40))
    bare, lined = (np.asarray(with_legend(picture, lines, "jet")) for lines in ([], ["M" * 12]))

    bar = slice(40, bare.shape[0] - 4)
    assert np.array_equal(lined[bar], bare[bar])
    assert lined[bare.shape[0] :].any()
