"""Write a run as one HTML file that needs nothing else: pictures, classes, qualities and failures, to be sorted."""

import base64
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import quote

from heatlens import __version__
from heatlens.card import Card
from heatlens_cli.console import say, shown
from heatlens_cli.contact_sheet import thumbnail
from heatlens_cli.file_explanation import ClassHeatmap, FileExplanation
from heatlens_cli.report_file import ReportFile

SIDE = 320  # pixels of a picture in the report
JPEG_QUALITY = 85
QUALITY_WORDS = {"ok": "enough evidence", "weak": "weak, do not read it", "empty": "empty, no evidence"}
QUALITY_ORDER = {"ok": 0, "weak": 1, "empty": 2}


@dataclass(frozen=True, slots=True)
class Subject:
    """What the report is about: the model, and the options that were given."""

    card: Card
    sha256: str
    options: dict[str, str]


@dataclass(slots=True)
class HtmlReport:
    """Collects a run, and writes the report at its end."""

    file: ReportFile
    subject: Subject
    announce: Callable[[str], None] = say
    _entries: list[str] = field(default_factory=list)
    _failures: list[str] = field(default_factory=list)
    _qualities: Counter[str] = field(default_factory=Counter)

    def running(self, images: Sequence[Path]) -> AbstractContextManager[object]:
        """Begin a run.

        Raises:
            WouldOverwrite: The file exists and may not be overwritten.
            NotWritten: The folder cannot be written to.
        """
        self.file.begin(images)
        return nullcontext()

    def explained(self, image: Path, answer: FileExplanation, written: Sequence[Sequence[Path]]) -> None:
        """Add the heatmaps of a file."""
        for heatmap, paths in zip(answer.heatmaps, written, strict=True):
            self.file.keep(paths)
            self._qualities[heatmap.quality] += 1
            self._entries.append(self._entry(image, answer, heatmap, paths))

    def failed(self, image: Path, reason: str) -> None:
        """Add a file that failed."""
        self._failures.append(f"<li><b>{escape(shown(image))}</b>: {escape(shown(reason))}</li>")

    def summary(self, count: int) -> None:
        """Write the report."""
        card = self.subject.card
        counts = ", ".join(f"{number} {quality}" for quality, number in sorted(self._qualities.items()))
        facts = {
            "model": f"{card.name} {card.version}",
            "digest": self.subject.sha256,
            **self.subject.options,
            "files": f"{count}, {len(self._failures)} failed",
            "maps": counts or "none",
            "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by heatlens {__version__}",
        }
        template = Template(files("heatlens_cli").joinpath("html_report.html").read_text(encoding="utf-8"))
        text = template.substitute(
            facts="".join(f"<dt>{escape(name)}</dt><dd>{escape(shown(value))}</dd>" for name, value in facts.items()),
            notice=f'<p class="notice">{escape(card.notice)}</p>' if card.notice else "",
            entries="".join(self._entries),
            failures=f"<h2>Failed files</h2><ul>{''.join(self._failures)}</ul>" if self._failures else "",
        )
        self.file.write(text.encode())
        self.announce(f"report: {shown(self.file.path)}")

    def _entry(self, image: Path, answer: FileExplanation, heatmap: ClassHeatmap, paths: Sequence[Path]) -> str:
        margin = answer.facts.get("prediction", {}).get("margin", 0.0)
        order = {
            "file": str(image),
            "class": answer.label,
            "probability": answer.probability,
            "margin": margin,
            "quality": QUALITY_ORDER[heatmap.quality],
        }
        mapped = (
            f"Map of <b>{escape(shown(heatmap.label))}</b> {heatmap.probability:.4f}: {QUALITY_WORDS[heatmap.quality]}"
        )
        predicted = f"Predicted <b>{escape(shown(answer.label))}</b> {answer.probability:.4f}"
        unlike = [each for each in answer.warnings if each.startswith("unfamiliar")]
        remarks = "".join(f"<p class=warning>{escape(shown(each))}</p>" for each in unlike)
        remarks += "".join(f"<p>{escape(shown(each))}</p>" for each in answer.notes)
        return (
            f"<li data-order='{escape(json.dumps(order), quote=True)}' class={heatmap.quality}>"
            f"{self._picture(image, heatmap, paths)}"
            f"<h3>{escape(shown(image.name))}</h3><p class=folder>{escape(shown(image.parent))}</p>"
            f"<p>{mapped}</p>"
            f"{'' if heatmap.label == answer.label else f'<p>{predicted}</p>'}{remarks}</li>"
        )

    def _picture(self, image: Path, heatmap: ClassHeatmap, paths: Sequence[Path]) -> str:
        if heatmap.picture is None or not paths:
            return ""
        buffer = io.BytesIO()
        small = thumbnail(heatmap.picture, SIDE)
        small.save(buffer, "JPEG", quality=JPEG_QUALITY)
        source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        link = quote(os.fsencode(os.path.relpath(paths[0], self.file.path.parent)))
        return (
            f'<a href="{link}"><img src="{source}" width={small.width} height={small.height} loading=lazy '
            f'alt="Heatmap of {escape(shown(image), quote=True)}"></a>'
        )
