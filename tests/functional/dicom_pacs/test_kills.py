"""Orthanc and the watcher are killed while instances arrive: nothing is lost, and nothing is there twice.

`HEATLENS_TEST_INSTANCES=500` sends as many; 40 by default.
"""

import os
import threading
import time
from pathlib import Path

import requests

from heatlens.settings import DEMO_MODEL
from tests.support.dicom import written
from tests.support.dicom_studies import SERIES, STUDY, phantom, study
from tests.support.dicom_tools import parsed
from tests.support.dicom_watch import Watch, watch_file
from tests.support.orthanc import Orthanc, eventually, running_orthanc

COUNT = int(os.environ.get("HEATLENS_TEST_INSTANCES", "40"))
KINDS = ("sc", "seg")
RULES = f'[[rule]]\nmodality = "CR"\nmodel = "{DEMO_MODEL}"\nobjects = {list(KINDS)}\n'
SENDERS = 4
LONGEST_S = 60 + 3 * COUNT  # on a slow machine


def image(number: int) -> bytes:
    return written(study(phantom((160, 160)), number, ImagerPixelSpacing=[0.4, 0.4]))


class Senders(threading.Thread):
    """Store images by STOW-RS, and each again until it is acknowledged, as a modality does."""

    def __init__(self, orthanc: Orthanc, numbers: range) -> None:
        super().__init__(daemon=True)
        self.orthanc, self.numbers, self.sent = orthanc, numbers, 0

    def run(self) -> None:
        for number in self.numbers:
            file = image(number)
            while True:
                try:
                    answer = self.orthanc.session.post(f"{self.orthanc.url}/instances", data=file, timeout=10)
                except requests.RequestException:
                    time.sleep(0.2)
                    continue
                if answer.ok:
                    break
            self.sent += 1


def test_nothing_is_lost_or_twice_when_both_are_killed(tmp_path: Path) -> None:
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        watch = Watch(watch_file(tmp_path, orthanc, RULES))
        watch.start()
        senders = [Senders(orthanc, range(1 + first, 1 + COUNT, SENDERS)) for first in range(SENDERS)]
        start = time.monotonic()
        for sender in senders:
            sender.start()
        try:
            until(watch, COUNT // 8)
            orthanc.kill()
            time.sleep(1)
            orthanc.start()
            until(watch, COUNT // 4)
            watch.kill()
            until_sent(senders, COUNT // 2)
            watch.start()
            until(watch, COUNT // 2)
            watch.kill()
            orthanc.kill()
            orthanc.start()
            watch.start()
            until(watch, COUNT)
            seconds = time.monotonic() - start
        finally:
            status = watch.stop()

        assert status == 0, watch.log
        assert not [sender for sender in senders if sender.is_alive()]
        assert {state: watch.queue.count(state) for state in ("waiting", "failed", "done")} == {
            "waiting": 0,
            "failed": 0,
            "done": COUNT,
        }, watch.log
        instances = orthanc.instances()
        assert len(instances) == orthanc.count() == COUNT * (1 + len(KINDS))
        sources = {f"{SERIES}.{number}" for number in range(1, COUNT + 1)}
        assert sources <= instances.keys()
        referred = [source_of(orthanc.file(instances[uid])) for uid in instances.keys() - sources]
        assert sorted(referred) == sorted([*sources, *sources])
        assert [study["MainDicomTags"]["StudyInstanceUID"] for study in orthanc.get("studies?expand").json()] == [STUDY]
        disk = int(orthanc.get("statistics").json()["TotalDiskSizeMB"])
        print(f"{COUNT} instances in {seconds:.0f} s, {disk} MB in Orthanc")


def until(watch: Watch, count: int) -> None:
    watch.until_done(count, within_s=LONGEST_S)


def until_sent(senders: list[Senders], count: int) -> None:
    eventually(lambda: sum(sender.sent for sender in senders) >= count, "not all are sent", within_s=LONGEST_S)


def source_of(file: bytes) -> str:
    """Return the UID of the image that a result was made from."""
    result = parsed(file)
    if result.Modality == "SEG":
        [frame] = result.PerFrameFunctionalGroupsSequence
        [image] = frame.DerivationImageSequence[0].SourceImageSequence
    else:
        [image] = result.SourceImageSequence
    return str(image.ReferencedSOPInstanceUID)
