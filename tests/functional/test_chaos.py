"""Faults at every call and at random -> the invariants hold; with any one protection off the same campaign fails."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from heatlens.model import Model
from tests.chaos.bucket import CALM
from tests.chaos.client import Client
from tests.chaos.faults import Crash, Fault, Faults, Plan
from tests.chaos.hooks import Call
from tests.chaos.images import image
from tests.chaos.protections import Protection
from tests.chaos.reader import Broken
from tests.chaos.run import run
from tests.chaos.steps import sweep
from tests.chaos.summary import Summary
from tests.chaos.turns import FILES, Life, check
from tests.chaos.world import DEADLINE_S, World, world
from tests.conftest import ROOT

IMAGES = 60
# What each protection is for, and who must come in between to need it.
NEEDED: dict[Protection, tuple[str, int]] = {
    "condition": ("worker", 1),
    "attempts": ("worker", 2),
    "versions": ("overwrite", 2),
}


def lived(model: Model, plan: Plan | None = None) -> tuple[Summary, World]:
    """One small life in a world that is read but not closed to who wants to look at its counts."""
    summary = Summary("")
    with world(model, 1, summary.counts) as made, made.faults.step(plan):
        Life.of(made).live()
        check(made, summary)
    return summary, made


def test_all_invariants_hold_at_random() -> None:
    summary = run(seed=7, images=IMAGES, troubles=())

    assert summary.holds, summary
    assert summary.counts["images"] == IMAGES
    happened = {name for name in summary.counts if name.startswith(("fault", "event"))}
    assert happened >= {"fault: crash", "fault: throttled", "fault: others in between", "event: doubled"}
    assert summary.counts["duplicates suppressed"] > 0


def test_all_invariants_hold_after_a_crash_at_each_call_in_turn() -> None:
    summary = run(seed=7, images=0, troubles=("crash",))

    assert summary.holds, summary
    calls = summary.counts["in turn: crash"]
    assert summary.counts["fault: crash"] == calls
    assert calls >= 3 + 6 * FILES  # create, declare, close; and of each file: two reads, three objects, the commit


@pytest.mark.parametrize("protection", NEEDED)
def test_without_a_protection_the_campaign_fails(protection: Protection) -> None:
    trouble, invariant = NEEDED[protection]

    summary = run(seed=7, images=0, troubles=(trouble,), without=protection)

    assert not summary.holds
    assert invariant in summary.invariants, summary
    assert f"invariant {invariant}: BROKEN" in str(summary)


@pytest.mark.parametrize("protection", NEEDED)
def test_without_a_protection_the_campaign_at_random_fails(protection: Protection) -> None:
    summary = run(seed=7, images=IMAGES, troubles=(), without=protection)

    assert NEEDED[protection][1] in summary.invariants, summary


def test_a_life_without_troubles_succeeds(tiny_model: Model) -> None:
    summary, _ = lived(tiny_model)

    assert summary.holds
    assert (summary.counts["files OK"] + summary.counts["files FAILED"], summary.counts["commits"]) == (FILES, FILES)


def test_a_seed_repeats_a_campaign() -> None:
    first, second = (run(seed=11, images=25, troubles=()) for _ in range(2))

    assert first.counts == second.counts


def test_the_exit_status_says_that_invariants_broke() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--images", "0", "--without", "condition", "--processes", "1"]

    done = subprocess.run([*command, "--troubles", "worker"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, "invariant 1: BROKEN" in done.stdout) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("fault", "name", "happens"),
    [
        (Fault.REFUSED, "GetItem", False),
        (Fault.REFUSED, "UpdateItem", True),
        (Fault.CONFLICT, "PutObject", False),
        (Fault.THROTTLED, "GetItem", True),
    ],
)
def test_faults_fit_the_calls_that_they_meet(fault: Fault, name: str, *, happens: bool) -> None:
    ...
