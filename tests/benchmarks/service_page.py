"""Write the results of `make bench` as a page, and draw the README's chart and how cost grows."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.sides import SIDES
from tests.support.paths import ROOT

PERCENTILES = (50, 90, 95, 99)
RESULTS = ROOT / "tests" / "benchmarks" / "service.json"
PAGE = ROOT / "tests" / "benchmarks" / "SERVICE.md"
CHART = ROOT / "layers" / "benchmark.svg"
GROWTH = ROOT / "tests" / "benchmarks" / "growth.svg"
COLORS = {"heatlens": "#c2410c", "plain": "#94a3b8"}
NAMES = {"heatlens": "Heatlens", "plain": "FastAPI + PyTorch + pytorch-grad-cam"}


def write_page(found: dict[str, Any]) -> None:
    """Write the page and the chart."""
    PAGE.write_text("\n".join([*page_lines(found), ""]), encoding="utf-8")
    draw_chart(found, CHART)
    draw_growth(found, GROWTH)


def figures(found: dict[str, Any]) -> dict[str, tuple[str, dict[str, float]]]:
    """Return each figure of the chart: its unit, and the value of each side."""
    return {
        "one request": ("ms", {side: statistics.median(found["request_ms"][side]) for side in SIDES}),
        "process start to first answer": ("s", {side: statistics.median(found["start_s"][side]) for side in SIDES}),
        "peak memory": ("MB", found["peak_mb"]),
        "installed packages": ("MB", found["installed_mb"]),
    }


def page_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# The service against the plain service"
    yield ""
    yield "Written by `make bench`; do not edit. Both Lambda handlers get the same API Gateway events and answer with"
    yield "overlay and original, as PNG. The [plain service](plain_service.py) is FastAPI, Mangum, PyTorch,"
    yield "pytorch-grad-cam and Pillow, warmed up. Weights are seeded; the demo model is trained on synthetic images."
    yield "Before a time is taken, both sides must draw the same map: *difference* is the mean of all pixels, of 255."
    yield "Not measured: GPU, and precisions that this processor does not have or a model was not compiled for."
    yield ""
    yield f"{found['date']}: {found['machine']}, load {found['load']:.1f} before;"
    yield f"{', '.join(f'{tool} {release}' for tool, release in found['versions'].items())}."
    yield ""
    yield "## One request"
    yield ""
    yield f"ResNet-50 at 224 x 224 in float32, a JPEG of 1024 x 1024 pixels. Difference: {found['difference']:.2f}."
    yield ""
    yield "| | Heatlens | plain service | ratio |"
    yield "|---|---|---|---|"
    for name, (unit, values) in figures(found).items():
        ours, plain = (values[side] for side in SIDES)
        yield f"| {name} | {_shown(ours, unit)} | {_shown(plain, unit)} | {plain / ours:.1f}x |"
    yield ""
    yield "| milliseconds of a request | " + " | ".join(f"p{percent}" for percent in PERCENTILES) + " | requests |"
    yield "|---|" + "---|" * (len(PERCENTILES) + 1)
    for side in SIDES:
        times = found["request_ms"][side]
        row = " | ".join(f"{np.percentile(times, percent):.0f}" for percent in PERCENTILES)
        yield f"| {NAMES[side]} | {row} | {len(times)} |"
    yield ""
    settled = "were stable" if found["stable"] else "had not settled when the time was over"
    yield f"The 95th percentiles {settled}. [service.json](service.json) has every sample of all tables."
    yield ""
    yield "## Formats and sizes"
    yield ""
    yield "ResNet-50. Stages are of one answer; the rest of the request is HTTP, JSON and base64."
    yield ""
    yield from _rows(found["formats"], "image", stages=True)
    yield ""
    yield "## Models and precisions"
    yield ""
    yield from _rows(found["models"], "model", stages=True)
    yield ""
    yield "## Other libraries"
    yield ""
    yield "The plain service with another library in place of pytorch-grad-cam; ResNet-50. OpenVINO XAI is not"
    yield "measured, because its last release, 1.1.0, requires NumPy 1 and OpenVINO 2024.4."
    yield ""
    yield from _rows(found["libraries"], "library", stages=False)
    yield ""
    yield "## Many images in one process"
    yield ""
    yield "Without HTTP, ResNet-50, 1024 x 1024 pixels: decode, explain, draw, encode."
    yield ""
    yield "| | images a second | a second and processor | utilization of all processors |"
    yield "|---|---|---|---|"
    for side in SIDES:
        bulk = found["bulk"][side]
        each = bulk["images_s"] / found["processors"]
        yield f"| {NAMES[side]} | {bulk['images_s']:.2f} | {each:.2f} | {100 * bulk['utilization']:.0f} % |"
    ours, plain = (found["bulk"][side]["images_s"] for side in SIDES)
    yield f"| ratio | {ours / plain:.1f}x | {ours / plain:.1f}x | |"
    yield ""
    one = found["bulk_of_one"]["images_s"]
    yield f"On one processor Heatlens explains {one:.2f} images a second: {found['processors']} processors do"
    yield f"{ours / one:.2f} times as many."
    yield ""
    yield "## How cost grows"
    yield ""
    yield "![Milliseconds over pixels, images and targets](growth.svg)"
    yield ""
    yield "ResNet-50: one request with a JPEG of more pixels; with more images of 512 x 512 pixels; with more targets."
    yield ""
    yield "| | " + " | ".join(f"{NAMES[side]}, ms" for side in SIDES) + " | ratio |"
    yield "|---|---|---|---|"
    for kind, rows in found["growth"].items():
        for row in rows:
            ours, plain = (row["ms"][side] for side in SIDES)
            yield f"| {row['case']} {kind} | {ours:,.0f} | {plain:,.0f} | {plain / ours:.1f}x |"


def _rows(rows: list[dict[str, Any]], head: str, *, stages: bool) -> Iterator[str]:
    more = " decode | trunk and tail | color | encode |" if stages else ""
    sizes = "answer, kB | plain answer, kB | peak, MB | plain peak, MB | difference |"
    yield f"| {head} | Heatlens, ms | plain, ms | ratio |{more} {sizes}"
    yield "|---|---|---|---|" + "---|" * (more.count("|") + 5)
    for row in rows:
        ours, plain = (row["ms"][side] for side in SIDES)
        taken = row["stages"]
        passes = taken.get("trunk", 0) + taken.get("tail", 0)
        shown = (taken.get("decode", 0), passes, taken.get("colour", 0), taken.get("encode", 0))
        parts = "".join(f" {each:.1f} |" for each in shown) if stages else ""
        answers = " | ".join(f"{row['bytes'][side] / 1000:,.0f}" for side in SIDES)
        peaks = " | ".join(f"{row['peak_mb'][side]:,.0f}" for side in SIDES)
        yield (
            f"| {row['case']} | {ours:.0f} | {plain:,.0f} | {plain / ours:.1f}x |{parts} {answers} | {peaks} "
            f"| {row['difference']:.2f} |"
        )


def draw_chart(found: dict[str, Any], path: Path) -> None:
    """Draw both sides of each figure as bars, with their ratio."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "heatlens"
    mpl.rcParams["svg.fonttype"] = "none"
    shown = figures(found)
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    for place, (name, (unit, values)) in enumerate(shown.items()):
        axes = figure.add_subplot(1, len(shown), place + 1)
        bars = axes.bar(range(len(SIDES)), [values[side] for side in SIDES], color=[COLORS[side] for side in SIDES])
        axes.bar_label(bars, [_shown(values[side], unit) for side in SIDES], fontsize=8, padding=2)
        ratio = values["plain"] / values["heatlens"]
        axes.set_title(f"{name}\n{ratio:.1f}x less", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.margins(y=0.15)
    handles = [mpl.patches.Patch(color=COLORS[side], label=NAMES[side]) for side in SIDES]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.patch.set_facecolor("white")
    figure.savefig(path, metadata={"Date": None})


def draw_growth(found: dict[str, Any], path: Path) -> None:
    """Draw milliseconds over the pixels, the images and the targets of a request, on logarithmic axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "heatlens"
    mpl.rcParams["svg.fonttype"] = "none"
    squares = [row for row in found["formats"] if row["case"].startswith("JPEG")]
    pixels = [{**row, "case": int(row["case"].split()[1].rstrip("²")) ** 2 / 1e6} for row in squares]
    panels = {"megapixels of the image": pixels}
    panels |= {f"{kind} of a request": rows for kind, rows in found["growth"].items()}
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    for place, (name, rows) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for side in SIDES:
            axes.loglog(
                [row["case"] for row in rows], [row["ms"][side] for row in rows], marker="o", color=COLORS[side]
            )
        axes.set_xlabel(name, fontsize=9)
        axes.set_xticks([row["case"] for row in rows], [f"{row['case']:.2g}" for row in rows])
        axes.minorticks_off()
        axes.set_ylabel("ms" if place == 0 else "")
        axes.grid(alpha=0.3)
    handles = [mpl.patches.Patch(color=COLORS[side], label=NAMES[side]) for side in SIDES]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.patch.set_facecolor("white")
    figure.savefig(path, metadata={"Date": None})


def _shown(value: float, unit: str) -> str:
    return f"{value:.2f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
