from pathlib import Path

import pytest

from heatlens_cli.explain_files import NotWritten, WouldOverwrite
from heatlens_cli.report_file import ReportFile


def test_an_image_of_the_run_is_not_replaced_even_with_force(tmp_path: Path) -> None:
    image = tmp_path / "scan.png"
    image.write_bytes(b"scan")
    (tmp_path / "link.html").symlink_to(image)

    for path in (image, tmp_path / "link.html"):
        with pytest.raises(WouldOverwrite, match="is a file of this run, which is not overwritten"):
            ReportFile(path, "--report", force=True).begin([image])

    assert image.read_bytes() == b"scan"


def test_a_heatmap_of_the_run_is_not_replaced_even_with_force(tmp_path: Path) -> None:
    heatmap = tmp_path / "scan.png.heatmap.png"
    report = ReportFile(heatmap, "--sheet", force=True)
    report.begin([])
    heatmap.write_bytes(b"heat")
    report.keep([heatmap])

    with pytest.raises(WouldOverwrite, match="choose another --sheet"):
        report.write(b"sheet")

    assert heatmap.read_bytes() == b"heat"


def test_a_file_of_an_earlier_run_is_replaced_with_force_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.html"
    ReportFile(path, "--report").begin([])
    ReportFile(path, "--report").write(b"first")

    with pytest.raises(WouldOverwrite, match="or --force to overwrite it"):
        ReportFile(path, "--report").begin([])

    ReportFile(path, "--report", force=True).write(b"second")
    assert path.read_bytes() == b"second"


def test_a_folder_that_cannot_be_made_names_the_report(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(NotWritten, match=r"file/r\.html cannot be written: "):
        ReportFile(tmp_path / "file" / "r.html", "--report").begin([])
