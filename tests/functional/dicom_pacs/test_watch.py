"""`heatlens dicom watch` beside a real Orthanc: results appear in the study, valid, and as the library draws them."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import highdicom
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ParametricMapStorage, SecondaryCaptureImageStorage

from heatlens.explainer import Explainer
from heatlens.settings import DEMO_MODEL
from tests.support.dicom import Array
from tests.support.dicom_studies import PRIVATE_TEXT, ct_slice, digital_radiograph, radiograph
from tests.support.dicom_tools import assert_one_study, assert_valid, parsed, rendered
from tests.support.dicom_watch import Watch, watch_file, watching
from tests.support.orthanc import Orthanc, running_orthanc

OBJECTS = {"CR": ["sc", "seg", "heat", "sr"], "DX": ["sc", "seg"], "CT": ["sc", "pm"]}
RULES = "".join(
    f'[[rule]]\nname = "{modality}"\nmodality = "{modality}"\nmodel = "{DEMO_MODEL}"\nobjects = {kinds}\n'
    for modality, kinds in OBJECTS.items()
)
SOURCES: dict[str, Callable[..., bytes]] = {"CR": radiograph, "DX": digital_radiograph, "CT": ct_slice}


Results = dict[str, dict[str, tuple[str, bytes]]]


def in_study(modality: str) -> bytes:
    """Write a source of a modality in a study of its own."""
    root = f"1.2.826.0.1.3680043.3.{list(SOURCES).index(modality) + 1}"
    return SOURCES[modality](StudyInstanceUID=root, SeriesInstanceUID=f"{root}.1", SOPInstanceUID=f"{root}.1.1")


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, Watch]]:
    """An archive that got a CR by C-STORE, and a DX and a CT by STOW-RS, and whose watcher has done all."""
    folder = tmp_path_factory.mktemp("pacs")
    with running_orthanc(folder / "orthanc") as orthanc, watching(watch_file(folder, orthanc, RULES)) as watch:
        orthanc.send(in_study("CR"))
        orthanc.stow(in_study("DX"), in_study("CT"))
        watch.until_done(len(SOURCES))
        yield orthanc, watch


@pytest.fixture(scope="module")
def results(pacs: tuple[Orthanc, Watch]) -> Results:
    """Orthanc's identifier and the file of each result, by modality of the source and kind."""
    orthanc, _ = pacs
    studies = {parsed(in_study(modality)).StudyInstanceUID: modality for modality in SOURCES}
    found: Results = {modality: {} for modality in SOURCES}
    for uid, identifier in orthanc.instances().items():
        if uid.startswith("2.25."):
            read = parsed(file := orthanc.file(identifier))
            found[studies[read.StudyInstanceUID]][kind_of(read)] = identifier, file
    return found


def kind_of(read: Dataset) -> str:
    if read.Modality == "SEG":
        return "seg" if read.SegmentationType == "BINARY" else "heat"
    return {SecondaryCaptureImageStorage: "sc", ParametricMapStorage: "pm"}.get(read.SOPClassUID, "sr")


def overlay(explainer: Explainer, modality: str) -> Array:
    with Image.open(io.BytesIO(explainer.explain(in_study(modality)).png)) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("modality", SOURCES)
def test_the_objects_of_the_rule_are_in_the_study_and_valid(results: Results, modality: str, tmp_path: Path) -> None:
    found = results[modality]

    assert sorted(found) == sorted(OBJECTS[modality])
    for _, file in found.values():
        assert_valid(file, tmp_path)
    assert_one_study([in_study(modality), *(file for _, file in found.values())], tmp_path)


@pytest.mark.parametrize("modality", SOURCES)
def test_the_objects_are_those_that_the_library_writes(results: Results, explainer: Explainer, modality: str) -> None:
    fetched = {kind: parsed(file) for kind, (_, file) in results[modality].items()}
    _, wanted = explainer.explain_dicom(in_study(modality), OBJECTS[modality])  # type: ignore[arg-type]  # kinds

    assert fetched == {each.kind: parsed(each.data) for each in wanted}


@pytest.mark.parametrize("modality", SOURCES)
def test_the_preview_and_dcmtk_show_the_overlay(
    pacs: tuple[Orthanc, Watch], results: Results, explainer: Explainer, modality: str, tmp_path: Path
) -> None:
    orthanc, _ = pacs
    identifier, file = results[modality]["sc"]
    with Image.open(io.BytesIO(orthanc.get(f"instances/{identifier}/preview", Accept="image/png").content)) as picture:
        preview = np.asarray(picture.convert("RGB"))

    drawn = overlay(explainer, modality)
    rows, columns = drawn.shape[:2]
    assert np.array_equal(preview[:rows, :columns], drawn)
    assert np.array_equal(rendered(file, tmp_path)[:rows, :columns], drawn)


def test_highdicom_reads_what_is_fetched(results: Results, explainer: Explainer) -> None:
    found = {kind: io.BytesIO(file) for kind, (_, file) in results["CR"].items()}
    explanation = explainer.explain(in_study("CR"))
    source = [parsed(in_study("CR")).SOPInstanceUID]

    regions = highdicom.seg.segread(found["seg"])
    heat = highdicom.seg.segread(found["heat"])
    report = highdicom.sr.srread(found["sr"])
    assert regions.get_pixels_by_source_instance(source).shape[1:3] == (explanation.height, explanation.width)
    assert heat.get_pixels_by_source_instance(source).max() > 0
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"  # Imaging Measurement Report


def test_the_log_and_the_queue_name_no_patient(pacs: tuple[Orthanc, Watch]) -> None:
    _, watch = pacs
    source = parsed(in_study("CR"))
    queue = watch.file.parent / "heatlens-queue"
    kept = [watch.log, *(path.name for path in queue.rglob("*"))]
    kept += [path.read_text() for path in queue.rglob("*") if path.is_file()]

    assert f"done {source.SOPInstanceUID}: stored sc, seg, heat, sr" in watch.log
    for text in ("Doe", "Jane", str(source.PatientID), source.PatientBirthDate, source.AccessionNumber, PRIVATE_TEXT):
        assert [line for line in kept if text in line] == []


def test_what_is_done_is_kept_as_a_name_alone(pacs: tuple[Orthanc, Watch]) -> None:
    _, watch = pacs
    done = list((watch.file.parent / "heatlens-queue" / "done").iterdir())

    assert {path.name for path in done} == {parsed(in_study(modality)).SOPInstanceUID for modality in SOURCES}
    assert [path.stat().st_size for path in done] == [0, 0, 0]
