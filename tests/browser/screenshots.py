"""Draw the pictures of the page in the README: `make screenshots`."""

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import CHROMIUM, FLAGS, Opened
from tests.support.local_server import local_server
from tests.support.paths import ROOT

FOLDER = ROOT / "functions"
SAMPLE = 2  # a phantom with an opacity
SHOTS: dict[str, tuple[dict[str, object], int]] = {
    "page-desktop.jpg": ({"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}, 760),
    "page-phone.jpg": (
        {"viewport": {"width": 390, "height": 900}, "color_scheme": "dark", "device_scale_factor": 2},
        200,
    ),
}
QUALITY = 88  # of the JPEG; a palette changes the colors of the heat


def draw(browser: Browser, base: str, options: dict[str, object], width: int) -> Image.Image:
    """Open the sample in a window and return its picture, `width` pixels wide."""
    page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
    Opened(page, base).open_sample(SAMPLE)
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        height = round(shot.height * width / shot.width)
        return shot.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def main(folder: Path = FOLDER) -> None:
    """Write every picture."""
    with local_server() as port, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name, (options, width) in SHOTS.items():
            draw(browser, f"http://127.0.0.1:{port}/", options, width).save(
                folder / name, quality=QUALITY, subsampling=0
            )


if __name__ == "__main__":
    main()
