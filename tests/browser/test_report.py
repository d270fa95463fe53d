"""The HTML report of a run, opened as a file: it is sorted and filtered, and asks nothing."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from heatlens_cli.main import app
from tests.browser.conftest import WAIT_MS, shows
from tests.support.paths import SAMPLES

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    scans = folder / "scans"
    scans.mkdir()
    for name in ("phantom-03-opacity.jpg", "phantom-04-clear.png"):
        shutil.copy(SAMPLES / name, scans / name)
    words = ["explain", str(scans), "--out", str(folder / "out"), "--report", str(folder / "report.html")]
    assert CliRunner().invoke(app, [*words, "--target", "CLEAR"]).exit_code == 0
    return folder / "report.html"


def test_a_report_is_sorted_and_filtered_and_asks_nothing(chromium: "Browser", report: Path) -> None:
    page = chromium.new_page()
    page.set_default_timeout(WAIT_MS)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    names = page.locator("#entries h3:visible")

    shows(names, ["phantom-03-opacity.jpg", "phantom-04-clear.png"])
    page.select_option("#sort", "class")
    shows(names, ["phantom-04-clear.png", "phantom-03-opacity.jpg"])
    page.select_option("#sort", "quality")  # the worst first
    shows(names, ["phantom-03-opacity.jpg", "phantom-04-clear.png"])
    page.select_option("#quality", "ok")
    shows(names, ["phantom-04-clear.png"])
    shows(page.locator("#shown"), "1 of 2 shown")
    page.select_option("#quality", "")
    page.fill("#name", "phantom-03")
    shows(names, ["phantom-03-opacity.jpg"])

    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    target = page.locator("#entries a").first.get_attribute("href")
    assert target
    assert (report.parent / target).exists()
    page.close()
