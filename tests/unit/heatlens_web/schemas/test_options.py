from dataclasses import asdict

from heatlens.types import Options
from heatlens_web.schemas.options import HeatmapOptions


def test_option_defaults_are_those_of_the_core() -> None:
    schema = HeatmapOptions().model_dump()
    core = asdict(Options())

    assert set(schema.pop("include")) == core.pop("include")
    for name in ("target", "dicom"):
        assert tuple(schema.pop(name)) == core.pop(name)
    assert schema == core


def test_options_that_are_not_given_are_the_defaults() -> None:
    assert HeatmapOptions().over(None) == Options()


def test_options_outside_the_body_win() -> None:
    outside, inside = HeatmapOptions(alpha=0.5), HeatmapOptions(alpha=0.9, colormap="hot")

    assert outside.over(inside) == Options(alpha=0.5, colormap="hot")
