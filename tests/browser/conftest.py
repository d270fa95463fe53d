"""A browser for the page: Debian's Chromium, driven by Playwright; without it the tests are skipped with a reason."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

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


@dataclass
class Opened:
    """A page, and what it has asked for and complained about since it was opened."""

    page: "Page"
    base: str
    requests: list["Request"] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    expects_failures: bool = False  # of requests, which the browser also writes into its log

    def go(self) -> "Page":
        self.page.goto(self.base)
        self.page.wait_for_selector("#samples button", timeout=WAIT_MS)
        return self.page

    def settle(self) -> None:
        """Wait until the selected image is shown."""
        self.page.wait_for_selector("#stage:not([hidden])", timeout=WAIT_MS)
        self.page.wait_for_selector("#busy", state="hidden", timeout=WAIT_MS)

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


@pytest.fixture
def opened(chromium: "Browser", base: str) -> Iterator[Opened]:
    """Open a window; afterwards nothing was asked of others, nothing violated the policy, and no script failed."""
    context = chromium.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    made = Opened(page, base)
    page.on("request", lambda request: made.requests.append(request))
    page.on("pageerror", lambda error: made.complaints.append(str(error)))
    page.on("console", lambda message: made.complaints.append(message.text) if message.type == "error" else None)
    yield made
    context.close()
    hosts = {urlsplit(request.url).netloc for request in made.requests if request.url.startswith("http")}
    assert hosts <= {urlsplit(base).netloc}
    failures = "Failed to load resource"
    assert [text for text in made.complaints if not (made.expects_failures and text.startswith(failures))] == []
