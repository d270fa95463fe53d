"""What a PACS answers becomes: done, wait for the PACS, try this instance again, or give this instance up."""

import json
from pathlib import Path

import pytest

from heatlens.errors import UnreadableImage
from heatlens.results import DicomObject
from heatlens_cli.dicom.failures import InstanceGone, PacsFailed, PacsRefused, PacsUnavailable
from heatlens_cli.dicom.pacs import Pacs
from heatlens_cli.dicom.watch_file import PASSWORD, TOKEN, read_watch_file
from tests.support.dicom_studies import radiograph
from tests.support.dicom_tools import parsed
from tests.support.fake_pacs import JSON, Answer, fake_pacs, instance, stored

UID = "1.2.3"


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (PASSWORD, TOKEN):
        monkeypatch.delenv(name, raising=False)


def pacs_at(url: str, folder: Path, more: str = "") -> Pacs:
    path = folder / "pacs.toml"
    path.write_text(f'[server]\northanc = "{url}"\ntimeout_s = 5\n{more}\n[[rule]]\nmodel = "model"\n')
    return Pacs(read_watch_file(path))


def objects() -> list[DicomObject]:
    return [DicomObject("sc", 0, "OPACITY", "1.2", UID, radiograph(SOPInstanceUID=UID))]


def test_an_instance_is_fetched_as_it_was_stored(tmp_path: Path) -> None:
    with fake_pacs(instance(radiograph())) as fake:
        data = pacs_at(fake.url, tmp_path).fetch("1", "1.1", "1.1.1")

    assert parsed(data) == parsed(radiograph())
    [(method, path, headers)] = fake.seen
    assert (method, path) == ("GET", "/dicom-web/studies/1/series/1.1/instances/1.1.1")
    assert "transfer-syntax=*" in headers["accept"]


@pytest.mark.parametrize("media_type", ["application/dicom+json", "application/dicom+json; charset=utf-8", JSON])
def test_objects_are_stored_in_their_study_and_confirmed(tmp_path: Path, media_type: str) -> None:
    with fake_pacs(stored(UID, media_type=media_type)) as fake:
        pacs_at(fake.url, tmp_path).store("1", objects())

    [(method, path, headers)] = fake.seen
    assert (method, path) == ("POST", "/dicom-web/studies/1")
    assert headers["content-type"].startswith('multipart/related; type="application/dicom"')


@pytest.mark.parametrize(
    "answer",
    [
        stored(failed={UID: 0x0111}),
        stored(failed={UID: 0x0111}, status=409),
        stored(failed={UID: 0xB00E}, status=409),
    ],
)
def test_a_duplicate_is_stored(tmp_path: Path, answer: Answer) -> None:
    with fake_pacs(answer) as fake:
        pacs_at(fake.url, tmp_path).store("1", objects())


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (stored(failed={"1.2.4": 0x0111}), PacsFailed, "the PACS did not confirm 1 of 1 objects"),
        (stored(failed={"1.2.4": 0x0111}, status=409), PacsFailed, "the PACS did not confirm 1 of 1 objects"),
        (stored(failed={UID: 0x0111, "1.2.4": 0xA900}, status=409), PacsRefused, "failure reason A900"),
        (stored(failed={UID: 0x0111, "1.2.4": 0xA700}), PacsFailed, "failure reason A700"),
        (stored(), PacsFailed, "the PACS did not confirm 1 of 1 objects"),
        (Answer(200), PacsFailed, "the PACS did not confirm 1 of 1 objects"),
        (stored(failed={UID: 0xA700}), PacsFailed, "the PACS did not store all objects, failure reason A700"),
        (stored(failed={UID: 0xC000}), PacsRefused, "the PACS did not store all objects, failure reason C000"),
        (stored(failed={UID: 0xA900}, status=409), PacsRefused, "the PACS answered 409, failure reason A900"),
        (stored(failed={UID: 0x0122}, status=409), PacsRefused, "failure reason 0122"),
        (stored(failed={UID: 0xA700}, status=409), PacsFailed, "the PACS answered 409, failure reason A700"),
        (stored(failed={UID: 0xA900, "1.2.4": 0xA700}), PacsFailed, "failure reason A900, A700"),
    ],
)
def test_what_is_not_stored_is_noticed(tmp_path: Path, answer: Answer, error: type[Exception], message: str) -> None:
    with fake_pacs(answer) as fake, pytest.raises(error, match=message):
        pacs_at(fake.url, tmp_path).store("1", objects())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, PacsUnavailable) for status in (401, 403, 407, 408, 425, 429, 502, 503, 504, 507)),
        *((status, PacsFailed) for status in (500, 501, 505)),
        *((status, PacsRefused) for status in (400, 405, 406, 409, 413, 415)),
        *((status, InstanceGone) for status in (404, 410)),
        (None, PacsUnavailable),
    ],
)
def test_a_status_says_who_has_to_wait(tmp_path: Path, status: int | None, error: type[Exception]) -> None:
    with fake_pacs(Answer(status, b"Doe^Jane", "text/plain")) as fake:
        pacs = pacs_at(fake.url, tmp_path)
        for call in (
            lambda: pacs.fetch("1", "1.1", "1.1.1"),
            lambda: pacs.store("1", objects()),
            lambda: pacs.ask_orthanc("changes"),
        ):
            with pytest.raises(error) as raised:
                call()
            assert type(raised.value) is error
            assert "Doe" not in str(raised.value)
        assert len(fake.seen) == 3, "the queue repeats, not the library"


def test_a_pacs_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    with fake_pacs(Answer(200)) as fake:
        pass

    with pytest.raises(PacsUnavailable, match=r"the PACS does not answer \(ConnectionError\)"):
        pacs_at(fake.url, tmp_path).fetch("1", "1.1", "1.1.1")


@pytest.mark.parametrize("answer", [instance(b"no DICOM"), instance(b""), Answer(200, b"text", "text/plain")])
def test_what_is_fetched_and_is_no_dicom_is_unreadable(tmp_path: Path, answer: Answer) -> None:
    with fake_pacs(answer) as fake, pytest.raises(UnreadableImage, match="cannot be read as DICOM"):
        pacs_at(fake.url, tmp_path).fetch("1", "1.1", "1.1.1")


def test_another_server_than_orthanc_is_noticed(tmp_path: Path) -> None:
    with fake_pacs(Answer(200, b"[]", JSON), Answer(200, b"<html>", "text/html")) as fake:
        pacs = pacs_at(fake.url, tmp_path)
        with pytest.raises(PacsUnavailable, match="does not answer as Orthanc does"):
            pacs.ask_orthanc("changes")
        with pytest.raises(PacsUnavailable, match="JSONDecodeError"):
            pacs.ask_orthanc("changes")


def test_orthanc_is_asked_with_parameters(tmp_path: Path) -> None:
    with fake_pacs(Answer(200, json.dumps({"Last": 3}).encode(), JSON)) as fake:
        assert pacs_at(fake.url, tmp_path).ask_orthanc("changes", since=3, limit=100) == {"Last": 3}

    assert [path for _, path, _ in fake.seen] == ["/changes?since=3&limit=100"]


@pytest.mark.parametrize(
    ("more", "variables", "header"),
    [
        ("", {}, None),
        ('user = "me"', {PASSWORD: "secret"}, "Basic bWU6c2VjcmV0"),
        ('user = "mé"', {PASSWORD: "€"}, "Basic bcOpOuKCrA=="),  # in UTF-8
        ("", {TOKEN: "a-token"}, "Bearer a-token"),
        ('user = "me"', {PASSWORD: "secret", TOKEN: "a-token"}, "Bearer a-token"),
    ],
)
def test_credentials_are_sent_with_each_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, variables: dict[str, str], header: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with fake_pacs(Answer(200, b"{}", JSON), stored(UID)) as fake:
        pacs = pacs_at(fake.url, tmp_path, more)
        pacs.ask_orthanc("changes")
        pacs.store("1", objects())

    assert [headers.get("authorization") for _, _, headers in fake.seen] == [header, header]
