"""The list of metrics against what the code measures and what the template shows."""

import re

from heatlens_aws.metrics import ITEMS, METRICS, PIPELINE_STAGES, SERVER_METRICS
from heatlens_aws.records import FileState
from tests.support.paths import ROOT


def test_every_stage_that_the_pipeline_times_has_a_metric() -> None:
    sources = [path.read_text() for path in (ROOT / "layers" / "heatlens").rglob("*.py")]
    timed = {name for source in sources for name in re.findall(r'timed\("(\w+)"\)', source)}

    assert timed == set(PIPELINE_STAGES)


def test_every_state_of_a_file_has_a_metric() -> None:
    assert {state.value for state in FileState} <= set(ITEMS)


def test_names_are_unique() -> None:
    names = [metric.name for metric in (*METRICS, *SERVER_METRICS)]

    assert len(names) == len(set(names))
