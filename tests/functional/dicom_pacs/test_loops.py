"""No watcher explains results: its own that come again, those of another watcher, and derived images of others."""

from pathlib import Path

import pytest
from pydicom.uid import UID

from tests.support.dicom import written
from tests.support.dicom_studies import phantom, radiograph, study
from tests.support.dicom_tools import parsed
from tests.support.dicom_watch import RULE, watch_file, watching
from tests.support.orthanc import Orthanc, eventually

ANY = RULE.replace('modality = ["CR", "DX"]\n', 'objects = "sc,seg"\n')  # no condition: all that may be explained
POLLS_S = 1.0  # of several polls


def derived(number: int) -> bytes:
    return written(study(phantom(), number, ImageType=["DERIVED", "PRIMARY"]))


@pytest.mark.parametrize("more", ["", "derived = true\n"])
def test_results_that_are_stored_again_are_not_explained(orthanc: Orthanc, tmp_path: Path, more: str) -> None:
    with watching(watch_file(tmp_path, orthanc, ANY + more)) as watch:
        orthanc.stow(radiograph())
        watch.until_done(1)
        files = [orthanc.file(identifier) for identifier in orthanc.instances().values()]
        copies = [parsed(file) for file in files if parsed(file).Manufacturer == "Heatlens"]
        for number, copy in enumerate(copies):  # as an archive does that gives UIDs of its own
            copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.4.{number}")
            if "ImageType" in copy:
                copy.ImageType = ["ORIGINAL", "PRIMARY"]
        orthanc.stow(*files, *map(written, copies))
        orthanc.stow(radiograph(number=2))
        watch.until_done(2)

        assert len(copies) == 2
        assert watch.queue.count("done") == 2, watch.log
        assert orthanc.count() == 2 * 3 + len(copies)


def test_derived_images_are_explained_only_where_the_rule_says_so(orthanc: Orthanc, tmp_path: Path) -> None:
    with watching(watch_file(tmp_path / "without", orthanc)) as watch:
        orthanc.stow(derived(1))
        orthanc.stow(radiograph(number=2))
        watch.until_done(1)
        assert "done 1.2.826.0.1.3680043.2.2.2:" in watch.log
        assert orthanc.count() == 3

    with watching(watch_file(tmp_path / "with", orthanc, RULE + "derived = true\n", server="existing = true")) as watch:
        watch.until_done(2)
        assert "done 1.2.826.0.1.3680043.2.2.1:" in watch.log
        assert orthanc.count() == 4


def test_two_watchers_of_one_archive_store_each_result_once(orthanc: Orthanc, tmp_path: Path) -> None:
    with (
        watching(watch_file(tmp_path / "first", orthanc, ANY)) as first,
        watching(watch_file(tmp_path / "second", orthanc, ANY)) as second,
        watching(watch_file(tmp_path / "third", orthanc, ANY + 'method = "layercam"\n')) as third,
    ):
        orthanc.stow(*(radiograph(number=number) for number in (1, 2, 3)))
        for watch in (first, second, third):
            watch.until_done(3)
        places = [watch.file.parent / "heatlens-queue" / "place.json" for watch in (first, second, third)]
        last = orthanc.get("changes?last").json()["Last"]
        eventually(lambda: all(f'"last": {last}' in place.read_text() for place in places), "they do not read on")

        assert orthanc.count() == 3 + 3 * 2 + 3 * 2  # sources, those of the first two, those of another method
        assert [watch.queue.count("done") for watch in (first, second, third)] == [3, 3, 3]
