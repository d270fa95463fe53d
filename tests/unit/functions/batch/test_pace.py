from functions.batch.pace import Pace
from heatlens.types import Options

PLAIN, SCORECAM = Options(), Options(method="scorecam")


def test_one_image_fits_where_nothing_was_measured() -> None:
    assert Pace().fitting(PLAIN, 8, 100) == 1
    assert Pace(assumed=10).fitting(PLAIN, 8, 79) == 7


def test_a_slower_group_counts_at_once_and_faster_ones_by_halves() -> None:
    pace, fitting = Pace(), []
    for seconds in (1, 20, 10, 10):
        pace.note(PLAIN, seconds)
        fitting.append(pace.fitting(PLAIN, 99, 60))

    assert fitting == [60, 3, 4, 4]


def test_none_fits_where_there_is_less_time_than_for_one() -> None:
    pace = Pace()
    pace.note(PLAIN, 20)

    assert [pace.fitting(PLAIN, 8, seconds) for seconds in (19, 20, 160)] == [0, 1, 8]


def test_each_kind_of_work_has_a_pace_of_its_own() -> None:
    pace = Pace()
    pace.note(SCORECAM, 50)
    pace.note(PLAIN, 1)

    assert pace.fitting(PLAIN, 8, 60) == pace.fitting(Options("hot", 0.7), 8, 60) == 8
    assert pace.fitting(SCORECAM, 8, 60) == 1
