"""Write the results of `make bench` as a page and as the README's chart."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.paths import ROOT

SIDES = ("heatlens", "plain")
PERCENTILES = (50, 90, 95, 99)
RESULTS = ROOT / "tests" / "benchmarks" / "service.json"
PAGE = ROOT / "tests" / "benchmarks" / "SERVICE.md"
CHART = ROOT / "layers" / "benchmark.svg"
COLORS = {"heatlens": "#c2410c", "plain": "#94a3b8"}
NAMES = {"heatlens": "Heatlens", "plain": "FastAPI + PyTorch + pytorch-grad-cam"}


def write_page(found: dict[str, Any]) -> None:
    """Write the page and the chart."""
    PAGE.write_text("\n".join([*page_lines(found), ""]), encoding="utf-8")
    draw_chart(found, CHART)


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
    yield "Written by `make bench`; do not edit. Both Lambda handlers get the same API Gateway event with a JPEG of"
    yield "1024 x 1024 pixels, and answer with overlay and original. ResNet-50 at 224 x 224 in float32, seeded weights."
    yield "The [plain service](plain_service.py) is FastAPI, Mangum, PyTorch, pytorch-grad-cam and Pillow, warmed up."
    yield f"Drawn alike, both maps differ by {found['difference']:.2f} of 255 on average. GPU: not measured."
    yield ""
    yield f"{found['machine']}; {', '.join(f'{tool} {release}' for tool, release in found['versions'].items())}."
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
    yield f"The 95th percentiles {settled}. [service.json](service.json) has every sample."


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


def _shown(value: float, unit: str) -> str:
    return f"{value:.2f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
