"""axe-core finds nothing serious in any state of the pages, light and dark."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.browser.conftest import Opened
from tests.support.paths import SAMPLES

if TYPE_CHECKING:
    from playwright.sync_api import Page


def findings(page: "Page") -> list[str]:
    """Return the serious and critical findings."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    violations = axe.Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:120]} {node['any'][:1]}"
        for each in violations
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_of_the_page_is_accessible(
    opened: Opened, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    opened.expects_failures = True
    opened.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page = opened.go()
    states = {"empty": findings(page)}
    page.locator("#samples button").nth(3).click()
    opened.settle()
    page.locator("#classes button").nth(1).click()
    for summary in page.locator("summary").all():
        summary.click()
    states["shown"] = findings(page)
    page.click("[data-view=pair]")
    page.select_option("#left", index=1)
    opened.settle()
    states["two classes"] = findings(page)
    broken = tmp_path / "a file whose name is very long and has no end, for a window of any width.jpg"
    broken.write_bytes(b"no image")
    page.set_input_files("#files", [broken, SAMPLES / "phantom-03-opacity.jpg"])
    page.wait_for_selector("#retry-failed:not([hidden])")
    opened.settle()
    page.locator("#items button").nth(1).click()
    page.wait_for_selector("#problem:not([hidden])")
    states["failed"] = findings(page)
    page.click("#problem-close")
    page.click("#token-button")
    states["token"] = findings(page)

    assert {state: found for state, found in states.items() if found} == {}


def test_the_description_of_the_api_is_accessible(opened: Opened) -> None:
    page = opened.page
    page.goto(f"{opened.base}docs")
    page.wait_for_selector("details")
    page.locator("summary").first.click()

    assert findings(page) == []
