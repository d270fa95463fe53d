import json
import re
from datetime import timedelta

import pytest

from heatlens_cli.cost.estimate import make_estimate
from heatlens_cli.cost.figures import Figures, PlainService
from heatlens_cli.cost.prices import read_prices
from heatlens_cli.cost.table import WIDTH, print_estimate
from tests.support.figures import FIGURES
from tests.support.paths import ROOT

PRICES = read_prices("us-east-1")
TODAY = PRICES.oldest
PAGE = (ROOT / "layers" / "cost.md").read_text()


def printed(figures: Figures = FIGURES, **arguments: object) -> str:
    return "\n".join(print_estimate(make_estimate(figures, PRICES, **({"today": TODAY} | arguments))))  # type: ignore[arg-type]


def test_it_fits_80_columns() -> None:
    long = FIGURES.model_copy(update={"request": FIGURES.staged.model_copy(update={"seconds": 90.0})})
    for figures in (FIGURES, long):
        for plain in (None, PlainService(8.8, 1600)):
            assert max(map(len, printed(figures, plain=plain).splitlines())) <= WIDTH


def test_what_was_not_measured_says_so() -> None:
    text = printed()

    assert "arm64: not measured" in text
    assert "* The plain service: not measured" in text
    assert re.search(r"ml\.g4dn\.xlarge +0\.7364  not measured on its T4", text)


def test_old_prices_are_dated() -> None:
    old = printed(today=TODAY + timedelta(days=200))

    assert f"warning: prices were read on {TODAY}, more than half a year ago" in " ".join(old.split())
    assert "warning" not in printed()


def test_a_busy_machine_is_named() -> None:
    busy = FIGURES.model_copy(update={"request": FIGURES.request.model_copy(update={"seconds": 0.3})})

    assert "warning: requests waited for other work" in printed(busy)


def test_the_share_beside_the_computation_is_printed() -> None:
    estimate = make_estimate(FIGURES, PRICES, today=TODAY)

    assert re.search(rf"of which requests, storage and egress +{estimate.share('png'):.0%}", printed())


def test_memory_that_is_too_small_has_no_price() -> None:
    assert re.search(r"^ +512 +0\.3 +too small +not measured$", printed(memories=[512, 1769]), re.MULTILINE)


def test_the_example_of_the_page_is_computed() -> None:
    """Write the figures' block again from a run with `--json`, and this block from what it prints."""
    [figures] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    [output] = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)

    assert printed(Figures.model_validate(json.loads(figures)["figures"])) == output.strip("\n")


@pytest.mark.parametrize("part", ["compute", "requests", "egress"])
def test_the_page_computes_a_row_by_hand(part: str) -> None:
    [figures] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    measured = Figures.model_validate(json.loads(figures)["figures"])
    [row] = make_estimate(measured, PRICES, today=TODAY, memories=[1769]).rows
    [(terms, dollars)] = re.findall(rf"^\| {part} \| `([^`]+)` \| \$([\d.]+) \|$", PAGE, re.MULTILINE)

    by_hand = eval(terms.replace(",", "").replace("^", "**"), {"__builtins__": {}})
    assert by_hand == pytest.approx(getattr(row, part), abs=1e-9)
    assert f"{by_hand:.4f}" == dollars
