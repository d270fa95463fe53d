"""The page as its users meet it: choose, look, ask more, keep; each control changes what is seen."""

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import WAIT_MS, Opened, eventually, mentions, shows, slow_down
from tests.support.dicom import dicom
from tests.support.paths import SAMPLES

if TYPE_CHECKING:
    from playwright.sync_api import Page

HEATMAP = "api/inference/heatmap"
JPEG = SAMPLES / "phantom-03-opacity.jpg"
WIDE = SAMPLES / "phantom-05-opacity-wide.png"


def pixels(page: "Page", *, busy: bool = False) -> np.ndarray[Any, Any]:
    """Return what the first pane shows, after the latest change is drawn, or while another image is explained."""
    page.wait_for_selector(f"#panes[aria-busy={str(busy).lower()}]")
    picture = Image.open(io.BytesIO(page.locator("#pane-a").screenshot()))
    return np.asarray(picture.convert("RGB")).astype(int)


def differs(before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> bool:
    return before.shape != after.shape or bool(np.abs(before - after).max() > 30)


def becomes_other(page: "Page", before: np.ndarray[Any, Any]) -> None:
    """Wait until a pane shows another picture."""
    eventually(page, lambda: differs(before, pixels(page)))


def asked(opened: Opened) -> list[str]:
    """Return what was asked of the API since the last call."""
    urls = [request.url for request in opened.requests if "/api/" in request.url]
    opened.requests.clear()
    return urls


def move(page: "Page", selector: str, value: str) -> None:
    """Set a control as its user does: the page hears `input` and `change`."""
    page.locator(selector).fill(value)


def saved(page: "Page", name: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click(f"[data-save={name}]")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_the_first_view_explains_itself_and_is_light(opened: Opened) -> None:
    page = opened.go()
    page.wait_for_selector("#notice:not([hidden])")

    mentions(page.locator("#notice"), "Not for medical use")
    samples = json.loads((SAMPLES / "samples.json").read_text())["samples"]
    shows(page.locator("#samples button"), [sample["name"] for sample in samples])
    loaded = [request for request in opened.requests if "/static/" in request.url or request.url == opened.base]
    sizes = {request.url: len(response.body()) for request in loaded if (response := request.response())}
    images = {url: size for url, size in sizes.items() if "/thumbnails/" in url}
    assert len(images) == 5
    assert max(images.values()) < 20_000
    assert sum(sizes.values()) - sum(images.values()) < 200_000


@pytest.fixture(scope="module")
def gray_dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gray = np.asarray(Image.open(JPEG).convert("L")).astype(np.uint16)
    path = tmp_path_factory.mktemp("dicom") / "scan.dcm"
    path.write_bytes(dicom(gray[:900] * 16 + 300, monochrome=1))
    return path


@pytest.mark.parametrize(
    ("name", "colormap", "alpha", "scale"),
    [
        ("phantom-03-opacity.jpg", "jet", "0.4", "image"),
        ("phantom-02-opacity-16bit.png", "turbo", "0.7", "image"),
        ("phantom-05-opacity-wide.png", "coolwarm", "0.9", "image"),
        ("phantom-04-clear.png", "inferno", "0.5", "absolute"),
        ("scan.dcm", "viridis", "0.55", "image"),
    ],
)
def test_the_overlay_equals_the_servers(
    opened: Opened, gray_dicom: Path, tmp_path: Path, name: str, colormap: str, alpha: str, scale: str
) -> None:
    path = gray_dicom if name == "scan.dcm" else SAMPLES / name
    page = opened.go()
    page.set_input_files("#files", [path])
    opened.settle()
    page.select_option("#colormap", colormap)
    page.select_option("#scale", scale)
    move(page, "#alpha", alpha)

    overlay = saved(page, "overlay", tmp_path)

    query = {"colormap": colormap, "alpha": alpha, "scale": scale}
    answer = httpx2.post(opened.base + HEATMAP, params=query, files={"file": path.read_bytes()}, timeout=60).json()
    expected = Image.open(io.BytesIO(base64.b64decode(answer["heatmap_base64"]))).convert("RGB")
    drawn = Image.open(overlay).convert("RGB")
    assert overlay.name == f"{name}.heatmap.png"
    assert drawn.size == expected.size
    assert np.abs(np.asarray(drawn).astype(int) - np.asarray(expected).astype(int)).max() <= 2


CONTROLS: dict[str, Callable[["Page"], object]] = {
    "colormap": lambda page: page.select_option("#colormap", "viridis"),
    "two-sided colors": lambda page: page.select_option("#colormap", "seismic"),
    "opacity": lambda page: move(page, "#alpha", "0.9"),
    "hide below": lambda page: move(page, "#threshold", "0.5"),
    "same scale": lambda page: page.select_option("#scale", "absolute"),
    "cells": lambda page: page.check("#cells"),
    "outline": lambda page: page.check("#outline"),
    "slider": lambda page: page.click("[data-view=slider]"),
    "side by side": lambda page: page.click("[data-view=pair]"),
    "zoom in": lambda page: page.click("#zoom-in"),
    "zoom out": lambda page: page.click("#zoom-out"),
    "no heat": lambda page: page.click("#heat-toggle"),
    "the other class": lambda page: page.locator("#classes button").nth(1).click(),
}


def test_each_control_changes_the_picture_and_asks_nothing(opened: Opened) -> None:
    for name, use in CONTROLS.items():
        page = opened.open_sample(2)
        before = pixels(page)
        asked(opened)

        use(page)

        becomes_other(page, before)
        assert asked(opened) == [], name


def test_two_classes_stand_side_by_side(opened: Opened) -> None:
    page = opened.open_sample(2)
    page.click("[data-view=pair]")
    original = pixels(page)
    asked(opened)

    page.select_option("#left", "CLEAR")

    becomes_other(page, original)
    for pane, label in (("a", "CLEAR"), ("b", "OPACITY")):
        shows(page.locator(f"#caption-{pane}"), re.compile(rf"^Heat for “{label}”, strongest color at [\d.e-]+$"))
    captions = [page.inner_text(f"#caption-{pane}") for pane in "ab"]
    assert asked(opened) == []  # both maps came with the first answer
    page.select_option("#scale", "absolute")
    page.wait_for_selector("#panes[aria-busy=false]")
    eventually(page, lambda: captions != [page.inner_text(f"#caption-{pane}") for pane in "ab"])
    left = pixels(page)
    page.locator("#pane-b").focus()
    page.keyboard.press("+")
    becomes_other(page, left)  # the panes are linked
    page.check("#regions")
    page.wait_for_selector("#regions-text:not(:empty)")
    opened.settle()
    mentions(page.locator("#caption-a"), "Heat for “CLEAR”")


def test_the_slider_shows_the_original_on_its_left(opened: Opened) -> None:
    page = opened.open_sample(2)
    page.click("#heat-toggle")
    original = pixels(page)
    page.click("#heat-toggle")
    overlay = pixels(page)
    page.click("[data-view=slider]")
    move(page, "#split", "75")
    box = page.locator("#pane-a").bounding_box()
    assert box
    split = pixels(page)

    line, height = int(box["width"] * 0.75), min(len(split), len(original))
    middle = slice(height // 4, height // 2)
    assert np.abs(split[middle, 200 : line - 20] - original[middle, 200 : line - 20]).mean() < 3
    assert np.abs(split[middle, line + 20 : -200] - overlay[middle, line + 20 : -200]).mean() < 3


def test_values_and_cells_are_read_under_the_pointer(opened: Opened) -> None:
    page = opened.open_sample(2)
    box = page.locator("#pane-a").bounding_box()
    assert box

    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    page.wait_for_selector("#hover:has-text('evidence')")
    text = page.inner_text("#hover")
    answer = httpx2.post(f"{opened.base}{HEATMAP}?include=map", files={"file": JPEG.read_bytes()}, timeout=60).json()
    grid = np.frombuffer(base64.b64decode(answer["map"]["data_base64"]), "<f4").reshape(answer["map"]["shape"])
    shown = re.fullmatch(r"x (\d+), y (\d+) · cell (\d+), (\d+) · evidence (\S+)", text)
    assert shown, text
    x, y, column, row = map(int, shown.groups()[:4])
    assert max(abs(x - 512), abs(y - 512)) <= 1
    assert (column - 1, row - 1) == (x * grid.shape[1] // 1024, y * grid.shape[0] // 1024)
    assert float(shown[5]) == pytest.approx(grid[row - 1, column - 1], rel=0.01)


def test_a_pointer_that_rests_reads_the_picture_that_arrives(opened: Opened) -> None:
    page = opened.open_sample(2)
    held: list[Any] = []
    page.route(f"**/{HEATMAP}*", lambda route: held.append(route))
    page.set_input_files("#files", [WIDE])
    eventually(page, lambda: held)
    box = page.locator("#pane-a").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    held[0].continue_()

    with Image.open(WIDE) as picture:
        width, height = picture.size
    page.wait_for_selector(f"#shown-name:text('{WIDE.name}')")
    opened.settle()
    near_x, near_y = ("|".join(str(side // 2 + d) for d in (-1, 0, 1)) for side in (width, height))
    shows(page.locator("#hover"), re.compile(rf"^x ({near_x}), y ({near_y}) · cell \d+, \d+ · evidence \S+$"))


def test_the_picture_keeps_its_size_while_it_is_explored(opened: Opened) -> None:
    page = opened.go()
    page.evaluate("""() => {
      window.heights = [];
      const pane = document.getElementById("pane-a");
      new ResizeObserver(() => heights.push(pane.getBoundingClientRect().height)).observe(pane);
    }""")
    page.locator("#samples button").nth(2).click()
    opened.settle()
    page.click("#heat-toggle")
    page.hover("#pane-a")
    page.check("#outline")
    page.set_input_files("#files", [WIDE])
    page.wait_for_selector(f"#shown-name:text('{WIDE.name}')")
    opened.settle()

    assert len({height for height in page.evaluate("heights") if height > 0}) == 1


def test_an_image_may_come_before_the_models_card(opened: Opened) -> None:
    held: list[Any] = []
    opened.page.route("**/api/inference/models", lambda route: held.append(route))
    page = opened.go()
    page.locator("#samples button").nth(2).click()
    page.wait_for_selector("#drop:not([data-busy=''])")
    assert not any(HEATMAP in request.url for request in opened.requests)

    held[0].continue_()

    opened.settle()
    assert page.locator("#classes button").count() == 2


def test_a_former_question_is_answered_again_without_a_request(opened: Opened) -> None:
    page = opened.open_sample(2)
    page.check("#regions")
    page.wait_for_selector("#regions-text:not(:empty)")
    page.set_input_files("#files", [WIDE])
    page.wait_for_selector(f"#shown-name:text('{WIDE.name}')")
    opened.settle()
    asked(opened)

    page.locator("#items li button").first.click()
    page.wait_for_selector(f"#shown-name:text('{JPEG.name}')")
    page.uncheck("#regions")
    page.wait_for_selector("#regions-text:empty", state="attached")

    assert asked(opened) == []


def test_the_heat_stays_on_its_place_whatever_the_pixel_ratio(opened: Opened) -> None:
    """The hottest point of the drawn heat lies where the truth of the sample is."""
    left, top, right, bottom = json.loads((SAMPLES / "samples.json").read_text())["samples"][2]["box"]
    browser = opened.page.context.browser
    assert browser
    for ratio in (1, 1.5, 3):
        context = browser.new_context(viewport={"width": 1000, "height": 900}, device_scale_factor=ratio)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        slow_down(page)
        Opened(page, opened.base).open_sample(2)
        move(page, "#threshold", "0.8")
        heat = pixels(page)
        page.click("#heat-toggle")
        rows, columns = np.nonzero(np.abs(pixels(page) - heat).max(axis=2) > 10)
        scale = min(heat.shape[1], heat.shape[0]) / 1024
        x = (np.median(columns) - heat.shape[1] / 2) / scale + 512
        y = (np.median(rows) - heat.shape[0] / 2) / scale + 512
        context.close()
        assert left <= x <= right, ratio
        assert top <= y <= bottom, ratio


def test_the_heat_is_kept_in_full_screen(opened: Opened) -> None:
    page = opened.open_sample(2)
    before = page.locator("#pane-a").bounding_box()

    page.click("#full-screen")
    page.wait_for_selector("#viewer:fullscreen")
    eventually(page, lambda: page.locator("#pane-a").bounding_box() != before)
    shown = pixels(page)

    assert shown.shape[0] > 700
    assert (np.abs(shown[:, :, 0] - shown[:, :, 2]) > 40).any()  # a gray picture has no colors


def test_more_questions_are_asked_and_answered(opened: Opened) -> None:
    page = opened.open_sample(2)
    asked(opened)

    page.check("#regions")
    page.wait_for_selector("#regions-text:not(:empty)")
    [url] = asked(opened)
    assert "include=map%2Cregions" in url
    mentions(page.locator("#regions-text"), "1 region ")

    page.uncheck("#regions")
    opened.settle()
    page.check("#faithfulness")
    page.wait_for_selector("#faithfulness-text:not(:empty)")
    mentions(page.locator("#faithfulness-text"), "deletion, low is good")

    asked(opened)
    page.select_option("#method", "eigencam")
    page.wait_for_selector("#facts dd:has-text('eigencam')", state="attached")
    [url] = asked(opened)
    assert "method=eigencam" in url
    assert page.locator("#scale option").nth(1).is_disabled()  # its calibration is Grad-CAM's


def test_words_of_trust_are_not_a_diagnosis(opened: Opened) -> None:
    page = opened.open_sample(3)

    shows(page.locator("#label"), "CLEAR")
    shows(page.locator("#quality"), "Enough evidence for the class “CLEAR” to read this map.")
    page.locator("#classes button").nth(1).click()
    page.wait_for_selector("#quality.weak, #quality.empty")
    mentions(page.locator("#quality"), "OPACITY")
    shows(page.locator("#label"), "CLEAR")  # the model's answer, whatever is explained
    mentions(page.locator(".about"), "It is not a segmentation.")


def test_keyboard_alone_is_enough(opened: Opened) -> None:
    page = opened.go()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#samples') !== null"):
            break
    page.keyboard.press("Enter")
    opened.settle()
    page.locator("#pane-a").focus()
    shown = pixels(page)
    page.keyboard.press("Space")
    page.wait_for_selector("#heat-toggle[aria-pressed=false]")
    plain = pixels(page)
    assert differs(shown, plain)
    page.keyboard.press("+")
    becomes_other(page, plain)
    page.keyboard.press("0")
    eventually(page, lambda: np.array_equal(plain, pixels(page)))


def test_files_are_dropped_and_pasted(opened: Opened) -> None:
    page = opened.go()
    data = base64.b64encode(JPEG.read_bytes()).decode()
    script = """([kind, data]) => {
      const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], `${kind}ped.jpg`, { type: "image/jpeg" }));
      if (kind === "drop") {
        document.body.dispatchEvent(new DragEvent("dragenter", { dataTransfer: transfer, bubbles: true }));
        const isSeen = !document.getElementById("drop-here").hidden;
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        return isSeen;
      }
      return document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
    }"""

    assert page.evaluate(script, ["drop", data]) is True
    opened.settle()
    shows(page.locator("#shown-name"), "dropped.jpg")
    page.evaluate(script, ["paste", data])
    page.wait_for_selector("#shown-name:text('pasteped.jpg')")
    assert page.locator("#items li").count() == 2


def test_many_images_fail_in_place_and_are_sorted(opened: Opened, tmp_path: Path) -> None:
    opened.expects_failures = True
    broken, text = tmp_path / "broken.jpg", tmp_path / "notes.txt"
    broken.write_bytes(JPEG.read_bytes()[:5000])
    text.write_text("no image")
    good = [path for path in sorted(SAMPLES.iterdir()) if path.suffix != ".json"]
    copies = [tmp_path / f"copy {number}.jpg" for number in range(3)]
    for copy in copies:
        copy.write_bytes(JPEG.read_bytes())
    page = opened.go()

    page.set_input_files("#files", [broken, *good, *copies, text])
    page.wait_for_selector("#retry-failed:not([hidden])")

    shows(page.locator("#progress-text"), "8 of 10 explained, 2 failed")
    shows(page.locator("#items li[data-state=failed] .name"), ["broken.jpg", "notes.txt"])
    mentions(page.locator("#items li[data-state=failed] .state >> nth=0"), "truncated")
    shows(page.locator("#shown-name"), "phantom-01-opacity.png")  # the first that could be explained
    page.wait_for_selector("#items li:nth-child(9) canvas")
    assert page.locator("#items canvas").count() == 8
    page.select_option("#sort", "class")
    mentions(page.locator("#items .class").first, "CLEAR")
    asked(opened)
    page.click("#retry-failed")
    page.wait_for_selector("#retry-failed:not([hidden])")
    assert len(asked(opened)) == 2
    page.locator("#items button:has-text('copy 2.jpg')").click()
    page.wait_for_selector("#shown-name:text('copy 2.jpg')")
    page.click("#clear")
    assert page.locator("#stage").is_hidden()
    assert page.locator("#samples-block").is_visible()


def test_an_image_of_twelve_megapixels_is_sent_once_and_its_picture_not_returned(
    opened: Opened, tmp_path: Path
) -> None:
    large = tmp_path / "large.jpg"
    Image.open(JPEG).resize((4000, 3000)).save(large, quality=95)
    page = opened.go()
    asked(opened)

    page.set_input_files("#files", [large])
    opened.settle()

    [request] = [each for each in opened.requests if HEATMAP in each.url]
    response = request.response()
    assert response
    assert len(response.body()) < 20_000
    asked(opened)
    page.select_option("#colormap", "magma")
    move(page, "#alpha", "0.8")
    page.wait_for_selector("#panes[aria-busy=false]")
    assert asked(opened) == []


def test_a_picture_is_kept_in_colors_that_have_just_been_chosen(opened: Opened, tmp_path: Path) -> None:
    page = opened.open_sample(2)
    held: list[Any] = []
    page.route("**/colormaps/gray.rgb", lambda route: held.append(route))
    page.select_option("#colormap", "gray")
    eventually(page, lambda: held)

    with page.expect_download() as download:
        page.click("[data-save=overlay]")
        held[0].continue_()
    download.value.save_as(tmp_path / "kept.png")

    with Image.open(tmp_path / "kept.png") as kept:
        channels = np.asarray(kept.convert("RGB"))
    assert np.array_equal(channels[..., 0], channels[..., 2])


def test_one_picture_never_stands_beside_another_name(opened: Opened) -> None:
    page = opened.open_sample(2)
    waiting: list[Any] = []
    page.route(f"**/{HEATMAP}*", lambda route: waiting.append(route))
    before = pixels(page)

    page.set_input_files("#files", [WIDE])
    page.wait_for_selector("#busy:not([hidden])")

    shows(page.locator("#shown-name"), JPEG.name)
    shows(page.locator("#busy"), f"Explaining {WIDE.name}… Still shown: {JPEG.name}")
    assert page.locator("#stage.stale").count() == 1
    after = pixels(page, busy=True)
    assert np.abs(after[:500] - before[:500]).mean() > 20  # dimmed
    assert page.evaluate("document.getElementById('stage').inert") is True
    waiting[0].continue_()
    page.wait_for_selector(f"#shown-name:text('{WIDE.name}')")
    assert page.locator("#stage.stale").count() == 0


def test_a_lost_connection_is_named_and_retried(opened: Opened) -> None:
    opened.expects_failures = True
    page = opened.open_sample(2)
    page.route(f"**/{HEATMAP}*", lambda route: route.abort("connectionreset"))

    page.set_input_files("#files", [WIDE])
    page.wait_for_selector("#problem:not([hidden])")

    mentions(page.locator("#problem"), f"{WIDE.name}: The server does not answer.")
    mentions(page.locator("#problem"), "Check the connection, then try again.")
    shows(page.locator("#shown-name"), JPEG.name)
    page.unroute(f"**/{HEATMAP}*")
    page.click("#problem-retry")
    page.wait_for_selector(f"#shown-name:text('{WIDE.name}')")
    assert page.locator("#problem").is_hidden()


@pytest.mark.parametrize(
    ("status", "headers", "body", "seen"),
    [
        (502, {}, "<html>Bad gateway</html>", "Something before the server answered with status 502"),
        (413, {}, json.dumps({"detail": "the file has 5 MB, at most 4 are allowed"}), "need a bucket"),
        (429, {"retry-after": "2"}, json.dumps({"detail": "too many requests"}), "Wait, then try again."),
        (503, {"retry-after": "2"}, json.dumps({"message": "busy"}), "busy"),
    ],
)
def test_errors_say_what_to_do(opened: Opened, status: int, headers: dict[str, str], body: str, seen: str) -> None:
    opened.expects_failures = True
    page = opened.go()
    page.route(f"**/{HEATMAP}*", lambda route: route.fulfill(status=status, headers=headers, body=body))
    page.locator("#samples button").first.click()
    page.wait_for_selector("#problem:not([hidden])")

    mentions(page.locator("#problem"), seen)
    page.unroute(f"**/{HEATMAP}*")
    if headers:
        assert page.locator("#problem-retry").is_disabled()
        mentions(page.locator("#problem-retry"), "Try again in ")
    page.click("#problem-retry")  # waits until it can be pressed
    opened.settle()


def test_a_refused_question_leaves_the_former_answer_usable(opened: Opened) -> None:
    opened.expects_failures = True
    page = opened.open_sample(2)
    before = pixels(page)
    page.route(f"**/{HEATMAP}*", lambda route: route.fulfill(status=503, body="{}"))

    page.select_option("#method", "eigencam")
    page.wait_for_selector("#problem:not([hidden])")

    shows(page.locator("#busy"), f"{JPEG.name} could not be explained. The former answer is shown.")
    assert page.locator("#problem").evaluate("each => each.getBoundingClientRect().top >= 0")  # also far down the page
    page.unroute(f"**/{HEATMAP}*")
    page.select_option("#method", "gradcam")
    opened.settle()
    assert (pixels(page) == before).all()


def test_copied_commands_give_the_overlay(opened: Opened, tmp_path: Path) -> None:
    page = opened.open_sample(2)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.select_option("#colormap", "hot")
    (tmp_path / JPEG.name).write_bytes(JPEG.read_bytes())

    page.click("[data-copy=curl]")
    page.wait_for_selector("button:text('Copied')")
    command = page.evaluate("navigator.clipboard.readText()")
    printed = subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    answer = json.loads(printed)
    page.wait_for_selector("[data-copy=curl]:text('Copy as curl')")
    page.click("[data-copy=python]")
    page.wait_for_selector("button:text('Copied')")
    program = page.evaluate("navigator.clipboard.readText()")
    shown = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True)

    assert "colormap=hot" in command
    assert answer["prediction"]["label"] == "OPACITY"
    assert answer["heatmap_base64"]
    assert "'label': 'OPACITY'" in shown.stdout


def test_map_json_and_report_are_kept(opened: Opened, tmp_path: Path) -> None:
    page = opened.open_sample(2)

    grid = np.load(saved(page, "map", tmp_path))
    answer = json.loads(saved(page, "json", tmp_path).read_text())
    report = Image.open(saved(page, "report", tmp_path))

    assert grid.dtype == np.float32
    assert grid.tobytes() == base64.b64decode(answer["map"]["data_base64"])
    assert report.width > 1000
    assert len(np.unique(np.asarray(report.convert("RGB")).reshape(-1, 3), axis=0)) > 1000


def test_nothing_is_wider_than_the_window(opened: Opened) -> None:
    page = opened.open_sample(2)
    page.set_input_files("#files", [WIDE])
    page.wait_for_selector("#tray:not([hidden])")
    opened.settle()
    for width in (375, 768, 1440, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_selector("#stage:not([hidden])")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
        box = page.locator("#viewer").bounding_box()
        assert box, width
        assert box["width"] > 0.55 * min(width, 2400), width


def test_the_description_of_the_api_is_tried_with_a_sample(opened: Opened) -> None:
    page = opened.page
    page.goto(f"{opened.base}docs")
    operation = page.locator("details:has(summary code:text('POST /api/inference/heatmap')) >> nth=0")
    operation.locator("summary").click()

    operation.get_by_role("button", name="Try it with a sample image").click()
    operation.locator('pre:has-text(\'"label": "OPACITY"\')').wait_for()

    mentions(operation, f"curl -sL -F file=@{JPEG.name} '{opened.base}{HEATMAP}'")
    page.set_viewport_size({"width": 375, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_the_tray_has_the_quality_of_the_predicted_class(opened: Opened) -> None:
    page = opened.go()
    page.set_input_files("#files", [JPEG, WIDE])
    opened.settle()
    page.wait_for_selector("#items li:nth-child(2)[data-state=done]")
    facts = page.locator("#items li").first.locator(".class, .state")
    before = facts.all_text_contents()

    page.locator("#classes button:has-text('CLEAR')").click()
    opened.settle()
    page.select_option("#method", "layercam")
    opened.settle()

    assert "OPACITY" in before[0]
    shows(facts, before)
    page.wait_for_selector("#caption-a:has-text('by layercam')")
    assert page.locator("#left").evaluate("each => document.documentElement.scrollWidth") <= 1440


def test_the_tray_says_which_images_the_model_does_not_know(opened: Opened, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(tmp_path / "noise.png")
    page = opened.go()

    page.set_input_files("#files", [JPEG, tmp_path / "noise.png"])
    page.wait_for_selector("#items li:nth-child(2)[data-state=done]")

    mentions(page.locator("#items li").nth(1), "unlike calibration images")
    page.select_option("#sort", "quality")
    mentions(page.locator("#items li").first, "noise.png")


def test_the_keyboard_keeps_its_place_while_the_server_answers(opened: Opened) -> None:
    page = opened.open_sample(2)
    page.focus("#regions")

    page.keyboard.press("Space")
    page.wait_for_selector("#regions-text:not(:empty)")
    opened.settle()
    page.keyboard.press("Space")

    eventually(page, lambda: not page.is_checked("#regions"))
    assert page.get_attribute("#heat-toggle", "aria-pressed") == "true"


def test_one_starts_over_with_the_samples(opened: Opened) -> None:
    page = opened.open_sample(2)

    page.click("#start-over")

    page.wait_for_selector("#samples button")
    assert page.locator("#stage").is_hidden()
    page.locator("#samples button").nth(3).click()
    opened.settle()
    shows(page.locator("#label"), "CLEAR")


def test_an_empty_file_fails_in_place(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    page = opened.go()

    page.set_input_files("#files", [tmp_path / "empty.png", JPEG])
    page.wait_for_selector("#items li[data-state=done]")

    mentions(page.locator("#items li").first, "The file is empty.")
    shows(page.locator("#progress-text"), "1 of 2 explained, 1 failed")
