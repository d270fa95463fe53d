"""`heatlens explain --dicom`: files beside the heatmap, with the rules of all other files."""

from pathlib import Path

import pytest

from tests.functional.cli.test_cli import heatlens
from tests.support.dicom_studies import PHANTOM, radiograph
from tests.support.dicom_tools import parsed

PICTURE, CAPTURE, REGIONS = (f"scan.dcm.heatmap.{suffix}" for suffix in ("png", "sc.dcm", "seg.dcm"))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.dcm"
    path.write_bytes(radiograph())
    return path


def test_objects_lie_beside_the_heatmap_and_are_no_images_of_a_later_run(scan: Path) -> None:
    folder = scan.parent
    done = heatlens("explain", folder, "--dicom", "sc,seg", "-o", folder)

    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {scan.name, PICTURE, CAPTURE, REGIONS}
    assert parsed((folder / CAPTURE).read_bytes()).Modality == "OT"

    again = heatlens("explain", folder, "--dicom", "sc,seg", "-o", folder)
    forced = heatlens("explain", folder, "--dicom", "sc,seg", "-o", folder, "--force")

    assert (again.returncode, again.stderr.count("exists: choose another --out")) == (1, 1)
    assert forced.returncode == 0, forced.stderr
    assert {path.name for path in folder.iterdir()} == {scan.name, PICTURE, CAPTURE, REGIONS}


def test_only_what_is_named_is_written_of_each_class(scan: Path) -> None:
    done = heatlens(
        "explain", scan, "--dicom", "sc", "--include", "map", "--target", "top-2", "-o", scan.parent / "out"
    )

    assert done.returncode == 0, done.stderr
    names = {path.name for path in (scan.parent / "out").iterdir()}
    assert names == {
        f"scan.dcm.{label}.heatmap.{suffix}" for label in ("1-OPACITY", "0-CLEAR") for suffix in ("npy", "sc.dcm")
    }


def test_an_unknown_kind_names_those_that_there_are(scan: Path) -> None:
    done = heatlens("explain", scan, "--dicom", "sc,gif")

    assert done.returncode != 0
    assert done.stderr == "dicom: gif: unknown name; known are sc, seg, heat, pm, sr\n"


def test_a_picture_in_a_format_that_loses_pixels_is_refused(scan: Path) -> None:
    done = heatlens("explain", scan, "--dicom", "sc", "--format", "jpeg")

    assert done.returncode != 0
    assert done.stderr.startswith("format is jpeg: a Secondary Capture shows the overlay pixel for pixel")


def test_an_image_that_is_no_dicom_fails_and_the_others_are_explained(scan: Path) -> None:
    picture = scan.with_name("picture.png")
    picture.write_bytes(PHANTOM.read_bytes())

    done = heatlens("explain", picture, scan, "--dicom", "sc", "-o", scan.parent / "out")

    assert done.returncode == 1
    assert f"{picture}: DICOM objects are written for DICOM sources" in done.stderr
    assert (scan.parent / "out" / CAPTURE).exists()
