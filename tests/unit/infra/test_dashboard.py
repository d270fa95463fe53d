"""The description of the dashboard in infra/operations.md: every widget, in its place, with what is normal."""

import re

import pytest

from infra import dashboard
from infra.dashboard import NORMAL, dashboard_picture, dashboard_table, widgets
from tests.support.paths import ROOT
from tests.support.stack import EVERYTHING, TEMPLATE, Stack, children, read


def titles() -> list[str]:
    return [each["properties"]["title"] for each in widgets()]


def test_every_widget_of_the_stack_is_described_and_no_other() -> None:
    guarded = Stack(TEMPLATE, EVERYTHING | {"Firewall": "true", "CorsOrigins": ""})
    body = children(guarded)["Observability"].properties("Board")["DashboardBody"]

    assert titles() == re.findall(r'"title": "([^"]+)"', body)
    assert set(titles()) == set(NORMAL)
    assert len(titles()) == len(set(titles()))


def test_no_two_widgets_are_in_one_place() -> None:
    cells = [
        (x, y)
        for each in widgets()
        for x in range(each["x"], each["x"] + each["width"])
        for y in range(each["y"], each["y"] + each["height"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < dashboard.GRID


def test_the_picture_has_a_row_for_each_row_of_widgets() -> None:
    lines = dashboard_picture().splitlines()

    assert [each.strip() for each in lines[2].split("|")[1:-1]] == ["Requests", "Latency, ms", "Failed starts"]
    assert {len(line) for line in lines[1:-1]} == {dashboard.GRID * dashboard.WIDTH + 1}
    assert sum(line.startswith("| ") for line in lines) == len({each["y"] for each in widgets()})


def test_the_table_names_metrics_with_statistics_and_lines() -> None:
    rows = dashboard_table().splitlines()

    assert rows[2].startswith("| Requests | Sum: `Count`, `4xx`, `5xx` | ")
    assert "| p99: `Duration` (api; batch; sweeper) |" in dashboard_table()
    assert "$" not in dashboard_table()


def test_a_widget_without_a_description_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(NORMAL, "Requests")

    with pytest.raises(KeyError, match="Requests"):
        dashboard_table()


def test_the_descriptions_name_parameters_and_metrics_that_exist() -> None:
    named = {name for text in NORMAL.values() for name in re.findall(r"`(\w+)`", text)}
    parameters = set(read(TEMPLATE)["Parameters"])
    shown = {metric[1] for each in widgets() for metric in each["properties"]["metrics"]}

    assert len(named) > 10
    assert named <= parameters | shown
    assert (ROOT / "infra" / "operations.md").read_text().count("<!-- widgets: make tables -->") == 1
