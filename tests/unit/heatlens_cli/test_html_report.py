import io
import json
import os
import re
from html import unescape
from pathlib import Path

import pytest
from PIL import Image

from heatlens.card import read_card
from heatlens.settings import DEMO_MODEL
from heatlens_cli.explain_files import WouldOverwrite
from heatlens_cli.file_explanation import ClassHeatmap, FileExplanation
from heatlens_cli.html_report import HtmlReport, Subject
from heatlens_cli.report_file import ReportFile


def answer(label: str = "A", mapped: str = "A", warnings: tuple[str, ...] = ()) -> FileExplanation:
    buffer = io.BytesIO()
    Image.new("RGB", (640, 320), "red").save(buffer, "PNG")
    heatmap = ClassHeatmap(mapped, (0,), 0.25, "weak", {".png": buffer.getvalue()})
    return FileExplanation(label, 0.75, (heatmap,), ["a note"], warnings, {"prediction": {"margin": 1.5}})


def write(path: Path, *, force: bool = False, image: Path = Path("ward/a.png"), **given: object) -> str:
    report = HtmlReport(ReportFile(path, "--report", force), Subject(*read_card(DEMO_MODEL), {"target": "A"}))
    with report.running([image]):
        report.explained(image, answer(**given), [[path.parent / "a heatmap.png"]])  # type: ignore[arg-type]
        report.failed(Path("b.png"), "damaged <b>")
    report.summary(2)
    return path.read_text(encoding="utf-8")


def test_the_report_has_all_facts_and_asks_nothing_of_others(tmp_path: Path) -> None:
    text = write(tmp_path / "sub" / "report.html")

    card, sha256 = read_card(DEMO_MODEL)
    for fact in (f"{card.name} {card.version}", sha256, "2, 1 failed", "1 weak", card.notice, "a note"):
        assert fact in text, fact
    assert "damaged &lt;b&gt;" in text
    assert 'href="a%20heatmap.png"' in text
    assert set(re.findall(r'src="([a-z]+:)', text)) == {"data:"}
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_order_of_an_entry_is_data(tmp_path: Path) -> None:
    [order] = re.findall(r"data-order='([^']*)'", write(tmp_path / "report.html"))

    assert json.loads(unescape(order)) == {
        "file": "ward/a.png",
        "class": "A",
        "probability": 0.75,
        "margin": 1.5,
        "quality": 1,
    }


def test_another_class_than_the_predicted_one_is_named(tmp_path: Path) -> None:
    text = write(tmp_path / "report.html", mapped="B")

    assert "Map of <b>B</b> 0.2500: weak, do not read it" in text
    assert "Predicted <b>A</b> 0.7500" in text


def test_names_and_labels_are_no_markup(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>'\".png"

    text = write(tmp_path / "report.html", image=Path(hostile), label="<i>", mapped="<i>")

    assert "<script>alert" not in text
    assert "<i>" not in text
    assert text.count("<script>") == 1


def test_an_unfamiliar_image_is_marked(tmp_path: Path) -> None:
    text = write(tmp_path / "report.html", warnings=("unfamiliar: unlike the images", "A: weak map"))

    assert "<p class=warning>unfamiliar: unlike the images</p>" in text
    assert "A: weak map" not in text  # the quality says it


def test_a_report_is_overwritten_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("kept")

    with pytest.raises(WouldOverwrite, match="choose another --report"):
        write(path)

    assert path.read_text() == "kept"
    assert write(path, force=True).startswith("<!doctype html>")


def test_a_file_name_that_is_no_text_is_linked_by_its_bytes(tmp_path: Path) -> None:
    report = HtmlReport(ReportFile(tmp_path / "r.html", "--report"), Subject(*read_card(DEMO_MODEL), {}))
    image = Path(os.fsdecode(b"bad\xff.png"))

    with report.running([image]):
        report.explained(image, answer(), [[tmp_path / image]])
    report.summary(1)

    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert 'href="bad%FF.png"' in text
    assert "<h3>bad\N{REPLACEMENT CHARACTER}.png</h3>" in text
