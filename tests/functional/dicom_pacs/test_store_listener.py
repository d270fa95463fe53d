"""The C-STORE receiver: success means that the instance is in the queue, whatever happens afterwards."""

from pathlib import Path

import pytest
from pydicom.uid import JPEGLSLossless
from pynetdicom import AE
from pynetdicom.sop_class import ComputedRadiographyImageStorage, SegmentationStorage  # type: ignore[attr-defined]

from heatlens.settings import DEMO_MODEL
from tests.support.dicom import compress, written
from tests.support.dicom_studies import phantom, radiograph, study
from tests.support.dicom_tools import parsed
from tests.support.dicom_watch import Watch, watching
from tests.support.orthanc import USER, Orthanc, eventually, free_ports, send


def listening_file(folder: Path, orthanc: Orthanc, port: int, more: str = "") -> Path:
    path = folder / "pacs.toml"
    path.write_text(
        f'[server]\ndicom_web = "{orthanc.url}/dicom-web"\nuser = "{USER}"\npoll_s = 0.2\n'
        f"[listen]\nport = {port}\n{more}\n"
        f'[[rule]]\nmodality = "CR"\nmodel = "{DEMO_MODEL}"\n'
    )
    return path


def status_of(port: int, files: list[bytes], title: str = "SENDER") -> list[int]:
    """Send files and return the status of each."""
    sender = AE(ae_title=title)
    for file in files:
        sender.add_requested_context(parsed(file).SOPClassUID, parsed(file).file_meta.TransferSyntaxUID)
    association = sender.associate("127.0.0.1", port)
    assert association.is_established
    statuses = [int(association.send_c_store(parsed(file)).Status) for file in files]
    association.release()
    return statuses


def compressed() -> bytes:
    made = study(phantom(), 2)
    compress(made, JPEGLSLossless)
    return written(made)


def test_what_is_sent_is_explained_and_its_file_removed(orthanc: Orthanc, tmp_path: Path) -> None:
    [port] = free_ports(1)
    sent = [radiograph(), compressed(), radiograph(number=3, Modality="US"), radiograph(number=4)]
    with watching(listening_file(tmp_path, orthanc, port)) as watch:
        assert status_of(port, sent) == [0, 0, 0, 0]
        assert status_of(port, sent[:1]) == [0]
        watch.until_done(3)

        assert list((tmp_path / "heatlens-queue" / "received").iterdir()) == []
        assert orthanc.count() == 3  # the results; the sources are where they came from


def test_what_was_acknowledged_survives_a_kill(orthanc: Orthanc, tmp_path: Path) -> None:
    [port] = free_ports(1)
    orthanc.kill()
    watch = Watch(listening_file(tmp_path, orthanc, port))
    watch.start()
    source = tmp_path / "source.dcm"
    source.write_bytes(radiograph())
    send(source, port)
    watch.kill()

    assert watch.queue.count("waiting") == 1
    orthanc.start()
    watch.start()
    try:
        watch.until_done(1)
        assert orthanc.count() == 1
    finally:
        watch.kill()


def test_orthanc_sends_to_it_by_itself(orthanc: Orthanc, tmp_path: Path) -> None:
    [port] = free_ports(1)
    with watching(listening_file(tmp_path, orthanc, port)) as watch:
        orthanc.session.put(
            f"{orthanc.url}/modalities/heatlens", json={"AET": "HEATLENS", "Host": "127.0.0.1", "Port": port}
        ).raise_for_status()
        orthanc.stow(radiograph())
        [identifier] = orthanc.instances().values()
        orthanc.session.post(f"{orthanc.url}/modalities/heatlens/store", data=identifier).raise_for_status()
        watch.until_done(1)

        assert orthanc.count() == 2


@pytest.mark.parametrize(("title", "accepted"), [("SCANNER", True), ("OTHER", False)])
def test_only_senders_that_are_named_may_send(orthanc: Orthanc, tmp_path: Path, title: str, *, accepted: bool) -> None:
    [port] = free_ports(1)
    with watching(listening_file(tmp_path, orthanc, port, 'senders = ["SCANNER"]')):
        sender = AE(ae_title=title)
        sender.add_requested_context(ComputedRadiographyImageStorage)
        association = sender.associate("127.0.0.1", port)

        assert association.is_established is accepted
        association.abort()


def test_results_are_accepted_and_left_alone(orthanc: Orthanc, tmp_path: Path) -> None:
    [port] = free_ports(1)
    with watching(listening_file(tmp_path, orthanc, port)) as watch:
        sent = radiograph(SOPClassUID=SegmentationStorage, Modality="CR")
        assert status_of(port, [sent, radiograph(number=2)]) == [0, 0]
        watch.until_done(1)
        eventually(lambda: watch.queue.count("waiting") == 0, "something waits")

        assert watch.queue.count("done") == 1
