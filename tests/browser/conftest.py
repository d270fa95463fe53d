"""A browser for the page: Debian's Chromium, driven by Playwright; without it the tests are skipped with a reason."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from os import environ
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    import re

    from playwright.sync_api import Browser, Locator, Page, Request

CHROMIUM = shutil.which("chromium")
# A closed machine refuses what a browser asks for by itself; root needs no sandbox.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 60_000
SLOWDOWN = int(environ.get("BROWSER_SLOWDOWN", "1"))  # 10 imitates a busy machine behind a slow line


@dataclass
class Opened:
    """A page, and what it has asked for and complained about since it was opened."""

    page: "Page"
    base: str
    requests: list["Request"] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    others: frozenset[str] = frozenset()  # hosts that may be asked beside the page's own
    expects_failures: bool = False  # of requests, which the browser also writes into its log

    def go(self) -> "Page":
        self.page.goto(self.base)
        self.page.wait_for_selector("#samples button")
        return self.page

    def settle(self) -> None:
        """Wait until the selected image is explained and drawn."""
        self.page.wait_for_selector("#busy", state="hidden")
        self.page.wait_for_selector("#stage:not([hidden]) #panes[aria-busy=false]")

    def open_sample(self, number: int = 0) -> "Page":
        page = self.go()
        page.locator("#samples button").nth(number).click()
        self.settle()
        return page


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """Start Chromium for the tests of a module: Playwright's event loop must not outlive them."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    if find_spec("playwright") is None:
        pytest.skip("Playwright is not installed: pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def base(server_port: int) -> str:
    """Return the address of the page."""
    return f"http://127.0.0.1:{server_port}/"


def eventually(page: "Page", holds: Callable[[], object]) -> None:
    """Wait until a condition holds that no selector can express."""
    until = time.monotonic() + WAIT_MS / 1000
    while not holds():
        assert time.monotonic() < until, "it never became so"
        page.wait_for_timeout(50)


def shows(where: "Locator", text: "str | re.Pattern[str] | list[str]") -> None:
    """Wait until an element, or each of a list, has exactly this text; parts that are scrolled away count too."""
    from playwright.sync_api import expect

    expect(where).to_have_text(text, timeout=WAIT_MS)


def mentions(where: "Locator", text: str) -> None:
    """Wait until a visible element contains a text."""
    from playwright.sync_api import expect

    expect(where).to_be_visible(timeout=WAIT_MS)
    expect(where).to_contain_text(text, timeout=WAIT_MS)


def lacks(where: "Locator", text: str) -> None:
    """Wait until an element no longer contains a text."""
    from playwright.sync_api import expect

    expect(where).not_to_contain_text(text, timeout=WAIT_MS)


def slow_down(page: "Page") -> None:
    """Slow the processor and the line of a page, if the environment says so."""
    if SLOWDOWN > 1:
        session = page.context.new_cdp_session(page)
        session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWDOWN})
        line = {"offline": False, "latency": 40 * SLOWDOWN, "downloadThroughput": -1, "uploadThroughput": -1}
        session.send("Network.emulateNetworkConditions", line)


@pytest.fixture
def opened(chromium: "Browser", base: str) -> Iterator[Opened]:
    """Open a window; afterwards nothing was asked of others, nothing violated the policy, and no script failed."""
    context = chromium.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    slow_down(page)
    made = Opened(page, base)
    page.on("request", lambda request: made.requests.append(request))
    page.on("pageerror", lambda error: made.complaints.append(str(error)))
    page.on("console", lambda message: made.complaints.append(message.text) if message.type == "error" else None)
    yield made
    context.close()
    hosts = {urlsplit(request.url).netloc for request in made.requests if request.url.startswith("http")}
    assert hosts <= {urlsplit(base).netloc} | made.others
    failures = "Failed to load resource"
    assert [text for text in made.complaints if not (made.expects_failures and text.startswith(failures))] == []
