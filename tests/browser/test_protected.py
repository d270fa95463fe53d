"""The page below a prefix, on a server that needs an API key and has several models."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from heatlens.settings import DEMO_MODEL
from tests.browser.conftest import Opened, eventually, lacks, shows
from tests.support.local_server import local_server
from tests.support.paths import SAMPLES

if TYPE_CHECKING:
    from playwright.sync_api import Page

KEY = "a-key-of-a-test-only"


@pytest.fixture(scope="module")
def base(colours_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = tmp_path_factory.mktemp("several")
    (models / "colours").symlink_to(colours_folder)
    settings = {
        "HEATLENS_API_KEYS": f"page={KEY}",
        "HEATLENS_BASE_PATH": "/heat",
        "HEATLENS_MODEL_DIR": str(DEMO_MODEL),
        "HEATLENS_MODELS_DIR": str(models),
    }
    with local_server(**settings) as port:
        yield f"http://127.0.0.1:{port}/heat/"


def enter(opened: Opened, key: str = KEY) -> "Page":
    """Open the page and enter a token."""
    opened.expects_failures = True
    page = opened.go()
    page.wait_for_selector("#token-dialog[open]")
    page.fill("#token", key)
    page.press("#token", "Enter")
    return page


def test_a_token_is_asked_for_and_kept_in_memory_only(opened: Opened) -> None:
    page = enter(opened)
    page.wait_for_selector("#notice:not([hidden])")

    page.locator("#samples button").nth(2).click()
    opened.settle()
    shows(page.locator("#label"), "OPACITY")
    kept = page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])")
    assert kept == '[{},{},""]'
    assert all(KEY not in request.url for request in opened.requests)


def test_a_wrong_token_is_refused_and_asked_for_again(opened: Opened) -> None:
    page = enter(opened, "not the key of anyone")

    page.wait_for_selector("#token-refused:not([hidden])")
    assert page.locator("#token-dialog[open]").count() == 1


def test_another_model_explains_the_same_image(opened: Opened) -> None:
    page = enter(opened)
    page.wait_for_selector("#model-field:not([hidden])")
    page.set_input_files("#files", [SAMPLES / "phantom-03-opacity.jpg"])
    opened.settle()

    page.select_option("#model", "colours")
    page.wait_for_selector("#facts dd:has-text('colours 3')", state="attached")

    shows(page.locator("#notice"), "A test's model.")
    lacks(page.locator("#classes"), "OPACITY")
    page.select_option("#layer", index=1)
    page.wait_for_selector("#busy", state="hidden")
    before = page.locator("#pane-a").screenshot()
    page.select_option("#contrast", index=3)
    contrast = page.locator("#contrast").input_value()
    page.wait_for_selector(f"#caption-a:has-text('rather than {contrast}')")
    eventually(page, lambda: page.locator("#pane-a").screenshot() != before)


def test_the_skip_link_stays_on_the_page(opened: Opened) -> None:
    opened.expects_failures = True
    page = opened.page
    page.goto(opened.base.rstrip("/"))
    page.wait_for_selector("#token-dialog[open]")
    page.click("#token-cancel")
    page.evaluate("window.isSamePage = true")

    page.locator(".skip").focus()
    page.keyboard.press("Enter")

    page.wait_for_selector("main:focus")
    assert page.evaluate("window.isSamePage")
