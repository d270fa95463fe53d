"""Files that are too large for one request go through a staged batch: browser, server, account and worker."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from infra.local_account import BUCKET
from tests.browser.conftest import Opened, eventually, mentions, shows
from tests.browser.test_accessibility import findings
from tests.support.loop import Loop, running_loop, versions
from tests.support.paths import SAMPLES
from tests.support.stack import TEMPLATE, Stack

if TYPE_CHECKING:
    from playwright.sync_api import Page

JPEG = SAMPLES / "phantom-03-opacity.jpg"
SETTINGS = {
    "HEATLENS_BODY_BYTES": "100000",
    "HEATLENS_ANSWER_JSON_BYTES": "50000",
    "MOTO_DISABLE_GLOBAL_CORS": "true",  # the bucket's own rules count
}


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    with running_loop(**SETTINGS) as loop, pytest.MonkeyPatch.context() as patch:
        allow(loop, patch)
        yield loop


def allow(loop: Loop, patch: pytest.MonkeyPatch) -> None:
    """Give the bucket the rules of the template, for the page's origin."""
    rules = copy.deepcopy(Stack(TEMPLATE).properties("Bucket")["CorsConfiguration"]["CorsRules"])
    names = {"ExposedHeaders": "ExposeHeaders", "MaxAge": "MaxAgeSeconds"}
    rules = [{names.get(name, name): value for name, value in rule.items()} for rule in rules]
    for rule in rules:
        rule["AllowedOrigins"] = [loop.url]
    loop.clients(patch).s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": rules})


@pytest.fixture
def base(loop: Loop) -> str:
    return f"{loop.url}/"


@pytest.fixture
def staged(opened: Opened, loop: Loop) -> Opened:
    """A page that may also ask the bucket, and is refused large requests."""
    opened.others = frozenset({urlsplit(loop.storage).netloc})
    opened.expects_failures = True
    return opened


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten files over the limit of a request: the third is broken, and the browser cannot show the last."""
    folder = tmp_path_factory.mktemp("ten")
    files = [folder / f"image {number}.jpg" for number in range(9)]
    for file in files:
        file.write_bytes(JPEG.read_bytes())
    files[2].write_bytes(JPEG.read_bytes()[:120_000])
    last = folder / "image 9.tif"
    with Image.open(JPEG) as picture:
        picture.resize((400, 400)).save(last)
    return [*files, last]


def is_over(page: "Page") -> None:
    page.wait_for_selector("#batch-erase:not([hidden])")


def test_ten_large_files_go_through_a_batch(
    staged: Opened, ten: list[Path], loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = staged.go()

    page.set_input_files("#files", ten)
    is_over(page)

    assert findings(page) == []
    shows(page.locator("#progress-text"), "9 of 10 explained, 1 failed")
    shows(page.locator("#batch-done-text"), "10 of 10")
    shows(page.locator("#batch-upload-text"), re.compile(r"^(\S+ ?\S*) of \1$"))
    [failed] = page.locator("#items li[data-state=failed]").all()
    shows(failed.locator(".name"), "image 2.jpg")
    shows(failed.locator(".state"), "The image is truncated or damaged.")
    staged.settle()
    shows(page.locator("#label"), "OPACITY")
    page.wait_for_selector("#items li:nth-child(10) canvas")
    before = page.locator("#pane-a").screenshot()
    page.select_option("#colormap", "viridis")
    eventually(page, lambda: page.locator("#pane-a").screenshot() != before)
    page.locator("#items button:has-text('image 9.tif')").click()
    page.wait_for_selector("#caption-a:has-text('the browser cannot read this file')")
    puts = [request for request in staged.requests if request.method == "PUT"]
    assert len(puts) == 10

    page.locator("#items li[data-state=failed] button:text('Try again')").click()
    page.wait_for_selector("#items li[data-state=uploading], #items li[data-state=staged]")
    is_over(page)
    page.wait_for_selector("#items li[data-state=failed]")
    page.click("#batch-erase")
    page.wait_for_selector("#batch", state="hidden")
    eventually(page, lambda: not versions(loop.clients(monkeypatch), "in/"))


def test_another_class_of_a_large_file_is_asked_in_another_batch(staged: Opened) -> None:
    page = staged.go()
    page.set_input_files("#files", [JPEG])
    is_over(page)
    staged.settle()
    assert page.locator("#tray").is_hidden()

    page.fill("#class-name", "CLEAR")
    page.click("#other-class button")
    page.wait_for_selector("#classes button[aria-pressed=true]:has-text('CLEAR')")

    shows(page.locator("#label"), "OPACITY")
    mentions(page.locator("#quality"), "CLEAR")


def test_a_batch_is_cancelled(staged: Opened, ten: list[Path], loop: Loop) -> None:
    page = staged.go()
    held: list[Any] = []
    storage = urlsplit(loop.storage).netloc
    page.route(lambda url: storage in url, lambda route: held.append(route))  # no upload ends
    page.set_input_files("#files", ten[:4])
    eventually(page, lambda: held)

    with page.expect_request(lambda request: request.method == "DELETE"):
        page.click("#batch-cancel")

    page.wait_for_selector("#retry-failed:not([hidden])")
    shows(page.locator("#progress-text"), "0 of 4 explained, 4 cancelled")
    page.unroute_all(behavior="ignoreErrors")
    page.click("#retry-failed")
    is_over(page)
    shows(page.locator("#progress-text"), "3 of 4 explained, 1 failed")


def test_a_large_answer_is_read_from_the_bucket(staged: Opened, tmp_path: Path) -> None:
    deep = tmp_path / "deep.png"
    noise = np.random.default_rng(0).integers(0, 2**16, (210, 210), dtype=np.uint16)
    Image.fromarray(noise).save(deep)
    page = staged.go()

    page.set_input_files("#files", [deep])
    staged.settle()

    shows(page.locator("#shown-name"), "deep.png")
    assert page.locator("#batch").is_hidden()
    assert [each.redirected_from.method for each in staged.requests if each.redirected_from] == ["POST"]


def test_more_than_a_hundred_images_go_through_a_batch(staged: Opened, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(101)]
    for number, file in enumerate(files):
        Image.new("L", (16, 16), number).save(file)
    page = staged.go()

    page.set_input_files("#files", files)
    is_over(page)

    shows(page.locator("#progress-text"), "101 of 101 explained")
    assert [request for request in staged.requests if request.url.endswith("/heatmap")] == []
