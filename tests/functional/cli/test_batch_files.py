"""Files that `heatlens batch run` cannot send: each is reported, and no heatmap leaves the output folder."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx2
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber

from heatlens_aws.settings import STAGED_LIMITS
from heatlens_cli.batch.names import split_by_name
from heatlens_cli.console import shown
from heatlens_cli.sources import CHUNK, Bucket, Folder, Image, NoSource, RejectedFile, Unreadable
from tests.chaos.hooks import Wires
from tests.support.denials import Denies, HidesMissing
from tests.support.images import encoded, noise
from tests.support.loop import Loop, asks, heatmaps, meddle, recorded, results, versions

PNG = encoded(noise((24, 16)))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "good.png").write_bytes(PNG)
    return folder


def codes(folder: Path) -> dict[str, Any]:
    return {each["name"]: each["code"] for each in results(folder)}


def test_each_bad_file_is_reported_and_the_others_are_sent(
    source: Path, tmp_path: Path, loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "broken.png").write_bytes(b"no image")
    (source / "empty.png").write_bytes(b"")
    with (source / "large.png").open("wb") as file:
        file.truncate(STAGED_LIMITS.file_bytes + 1)
    (source / "lost.png").symlink_to(source / "nowhere.png")
    os.mkfifo(source / "pipe.png")
    long = "x" * 245 + ".png"
    (source / long).write_bytes(PNG)
    (source / os.fsdecode(b"\xff.png")).write_bytes(PNG)

    assert loop.run(source, tmp_path / "out") == 1

    assert codes(tmp_path / "out") == {
        "good.png": None,
        "broken.png": "input.unsupported",
        "empty.png": "input.empty",
        "large.png": "limit.file_bytes",
        "lost.png": "source.unreadable",
        "pipe.png": "source.unreadable",
        long: "source.name",
        "\udcff.png": "source.name",
    }
    assert heatmaps(tmp_path / "out") == ["good.png.heatmap.png"]
    output = capsys.readouterr().out
    assert "broken.png: FAILED input.unsupported" in output
    assert "empty.png: FAILED input.empty (the file is empty)" in output
    assert "\N{REPLACEMENT CHARACTER}.png: FAILED source.name (its name is not UTF-8: rename it)" in output
    assert "1 heatmaps in" in output


def test_bad_files_alone_create_no_batch(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "good.png").write_bytes(b"")
    calls = recorded(monkeypatch, lambda _: True)

    assert loop.run(source, tmp_path / "out") == 1
    assert loop.run(source, tmp_path / "out") == 1, "as the first run says"

    assert calls == ["/api/inference/models"] * 2
    assert codes(tmp_path / "out") == {"good.png": "input.empty"}


@pytest.mark.parametrize(
    ("meanwhile", "code"),
    [(lambda path: path.write_bytes(PNG + b"\0"), "source.changed"), (lambda path: path.unlink(), "source.unreadable")],
)
def test_a_file_that_changes_while_the_batch_runs_fails_alone(
    meanwhile: Callable[[Path], Any],
    code: str,
    source: Path,
    tmp_path: Path,
    loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (source / "other.png").write_bytes(PNG)

    def change(call: Callable[[], httpx2.Response]) -> httpx2.Response:
        meanwhile(source / "other.png")
        return call()

    meddle(monkeypatch, asks("POST", "/files/links"), change)

    assert loop.run(source, tmp_path / "out") == 1

    assert codes(tmp_path / "out") == {"good.png": None, "other.png": code}
    assert heatmaps(tmp_path / "out") == ["good.png.heatmap.png"]


@pytest.mark.parametrize("other", [b"", b"longer", b"\0" * len(PNG), PNG + b"\0" * CHUNK * 2, b"\0" * CHUNK * 3])
def test_a_file_with_other_bytes_each_time_it_is_read_fails_alone(
    other: bytes, source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Folder.chunks
    turns: list[str] = []

    def changing(folder: Folder, image: Image) -> Iterator[bytes]:
        if image.name == "good.png":
            return read(folder, image)
        turns.append(image.name)
        return iter([PNG] if len(turns) == 1 else [other[at : at + CHUNK] for at in range(0, len(other), CHUNK)])

    (source / "other.png").write_bytes(PNG)
    monkeypatch.setattr(Folder, "chunks", changing)
    before = len(versions(loop.clients(monkeypatch), "in/"))

    assert loop.run(source, tmp_path / "out") == 1

    assert codes(tmp_path / "out") == {"good.png": None, "other.png": "source.changed"}
    assert len(versions(loop.clients(monkeypatch), "in/")) - before == 1


def test_a_large_file_that_changes_while_it_is_uploaded_does_not_arrive(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = encoded(noise((1100, 1000)))
    assert len(large) > 3 * CHUNK
    (source / "large.png").write_bytes(large)
    read, turns = Folder.chunks, list[str]()

    def changing(folder: Folder, image: Image) -> Iterator[bytes]:
        turns.append(image.name)
        for index, chunk in enumerate(read(folder, image)):
            yield chunk[::-1] if index == 1 and turns.count("large.png") > 1 else chunk

    monkeypatch.setattr(Folder, "chunks", changing)
    before = len(versions(loop.clients(monkeypatch), "in/"))

    assert loop.run(source, tmp_path / "out") == 1

    assert codes(tmp_path / "out") == {"good.png": None, "large.png": "source.changed"}
    assert len(versions(loop.clients(monkeypatch), "in/")) - before == 1


def test_a_file_that_grows_before_it_is_read_fails_alone(source: Path, tmp_path: Path, loop: Loop) -> None:
    class Growing(Folder):
        """What was listed has become longer when it is read."""

        def chunks(self, image: Image) -> Iterator[bytes]:
            yield from super().chunks(image)
            yield b"more" if image.name == "good.png" else b""

    (source / "other.png").write_bytes(PNG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heatlens_cli.sources.Folder", Growing)
        assert loop.run(source, tmp_path / "out") == 1

    assert codes(tmp_path / "out") == {"good.png": "source.changed", "other.png": None}


def test_images_are_found_by_their_suffix(source: Path) -> None:
    for name in ("scan.dcm", "ward/SCAN.DICOM", "notes.txt", "DICOMDIR"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(PNG)

    found = list(Folder(source, results=source).images())

    assert sorted(each.name for each in found) == ["good.png", "scan.dcm", "ward/SCAN.DICOM"]


def test_a_folder_that_cannot_be_listed_is_reported(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = os.walk

    def locked(top: Path, onerror: Callable[[OSError], None]) -> Any:  # noqa: ANN401 - passes through
        onerror(PermissionError(13, "Permission denied", str(source / "ward")))
        return walk(top)

    monkeypatch.setattr(os, "walk", locked)

    found = list(Folder(source, results=source).images())

    assert [each for each in found if isinstance(each, RejectedFile)] == [
        RejectedFile("ward/", "source.unreadable", "Permission denied")
    ]
    assert len(found) == 2


@pytest.mark.parametrize(
    "name",
    ["/etc/a.png", "../a.png", "a/../../b.png", "a//b.png", "./a.png", "C:/a.png", "C:a.png", "..\\a.png", "\\a.png"],
)
def test_rejects_a_name_that_leaves_the_folder(name: str) -> None:
    images, refused = split_by_name([Image(name, 1, ""), Image("good.png", 1, "")], one_case=False)

    assert [image.name for image in images] == ["good.png"]
    assert [(each.name, each.code) for each in refused] == [(name, "source.name")]


@pytest.mark.parametrize(
    ("names", "one_case", "refused"),
    [
        (["A.png", "a.png"], True, ["a.png"]),
        (["A.png", "a.png"], False, []),
        (["\N{LATIN SMALL LETTER E WITH ACUTE}.png", "e\N{COMBINING ACUTE ACCENT}.png"], True, ["é.png"]),
        (["a.png", "a.png.heatmap.png/b.png"], False, ["a.png.heatmap.png/b.png"]),
        (["results.jsonl/a.png"], False, ["results.jsonl/a.png"]),
    ],
)
def test_no_heatmap_overwrites_another_file(names: list[str], refused: list[str], *, one_case: bool) -> None:
    found = split_by_name([Image(name, 1, "") for name in names], one_case=one_case)[1]

    assert [each.name for each in found] == refused


def test_a_name_is_printed_without_control_characters() -> None:
    assert shown("a\x1b[2J\n\udcff ü.png") == "a�[2J�� ü.png"


def test_a_bucket_key_never_leaves_the_output_folder(
    tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = loop.clients(monkeypatch)
    clients.s3.create_bucket(Bucket="keys")
    for key in (f"scans/{tmp_path}/a.png", "scans/x/../../../escaped/b.png", "scans/good.png"):
        clients.s3.put_object(Bucket="keys", Key=key, Body=PNG)
    out = tmp_path / "deep" / "out"

    assert loop.run("s3://keys/scans", out) == 1

    assert heatmaps(tmp_path) == ["deep/out/good.png.heatmap.png"]
    assert sorted(codes(out).values(), key=str) == [None, "source.name", "source.name"]


def test_an_object_that_changes_while_the_batch_runs_fails_alone(
    tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = loop.clients(monkeypatch)
    clients.s3.create_bucket(Bucket="moving")
    for name in ("changed", "gone", "good"):
        clients.s3.put_object(Bucket="moving", Key=f"{name}.png", Body=PNG)

    def change(call: Callable[[], httpx2.Response]) -> httpx2.Response:
        clients.s3.put_object(Bucket="moving", Key="changed.png", Body=PNG + b"\0")
        clients.s3.delete_object(Bucket="moving", Key="gone.png")
        return call()

    meddle(monkeypatch, asks("POST", "/files/links"), change)

    assert loop.run("s3://moving", tmp_path) == 1

    assert codes(tmp_path) == {"changed.png": "source.changed", "gone.png": "source.unreadable", "good.png": None}


def test_a_file_that_is_gone_and_one_that_is_denied_are_told_apart(
    tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = loop.clients(monkeypatch)
    clients.s3.create_bucket(Bucket="guarded")
    for name in ("a", "ab"):
        clients.s3.put_object(Bucket="guarded", Key=f"{name}.png", Body=PNG)
    bucket = Bucket(clients.s3, "guarded", "")
    first, second = sorted(bucket.images(), key=lambda image: image.name)
    clients.s3.delete_object(Bucket="guarded", Key="a.png")
    Wires([clients.s3]).hooks = (HidesMissing(), Denies())

    assert isinstance(first, Image)
    assert isinstance(second, Image)
    with pytest.raises(Unreadable, match="it is gone"):
        list(bucket.chunks(first))
    with pytest.raises(Unreadable, match=r"access is denied \(AccessDenied\): allow s3:GetObject and s3:ListBucket"):
        list(bucket.chunks(second))


def test_a_failing_bucket_is_reported_without_a_traceback() -> None:
    s3 = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with pytest.MonkeyPatch.context() as patch, Stubber(s3) as stub:
        bucket = Bucket(s3, "bucket", "")
        stub.add_client_error("list_objects_v2", "AccessDenied")
        stub.add_client_error("get_object", "SlowDown")
        with pytest.raises(NoSource, match="s3://bucket/ cannot be listed: AccessDenied"):
            list(bucket.images())
        with pytest.raises(Unreadable, match="SlowDown"):
            list(bucket.chunks(Image("a.png", 1, '"etag"')))

        def broken(**_: Any) -> None:  # noqa: ANN401 - whatever is read
            raise ReadTimeoutError(endpoint_url="x")

        patch.setattr(s3, "get_object", broken)
        with pytest.raises(Unreadable, match="ReadTimeoutError"):
            list(bucket.chunks(Image("a.png", 1, '"etag"')))
