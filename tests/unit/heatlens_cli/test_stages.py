"""Each stage is printed as it begins, with the seconds that have passed."""

import pytest

from heatlens_cli.stages import Stages


def test_a_stage_has_the_seconds_since_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    stages = Stages(iter([5.0, 5.04, 130.5]).__next__)

    stages.begin("exporting")
    assert capsys.readouterr().out == "   0.0 s  exporting\n"
    stages.begin("done")
    assert capsys.readouterr().out == " 125.5 s  done\n"
