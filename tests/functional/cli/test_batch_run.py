"""`heatlens batch run` against the whole loop on this machine."""

import shutil
from pathlib import Path

import httpx2
import pytest
from rich.progress import Task

from heatlens.client import InvalidRequest
from heatlens.errors import HeatlensError
from heatlens_cli.batch.journal import BatchFailed
from heatlens_cli.batch.names import JOURNAL
from heatlens_cli.batch.run import parse_headers, run_batch
from heatlens_cli.progress import Pace
from heatlens_cli.sources import NoSource
from heatlens_cli.verify.run import verify_manifest
from infra.local_account import BUCKET
from tests.functional.cli.test_cli import heatlens
from tests.support.dicom_studies import radiograph
from tests.support.images import encoded, noise
from tests.support.loop import Loop, asks, heatmaps, meddle, recorded, results, versions
from tests.support.paths import SAMPLES


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Six images, one of them in a subfolder, beside a file that is none."""
    folder = tmp_path / "scans"
    (folder / "ward").mkdir(parents=True)
    for index in range(5):
        (folder / f"{index}.png").write_bytes(encoded(noise((24, 16), seed=index)))
    shutil.copy(SAMPLES / "phantom-03-opacity.jpg", folder / "ward" / "Müller, Jürgen.jpg")
    (folder / "notes.txt").write_text("not an image")
    return folder


def limit(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    """Let the server name these limits of its staged batches."""
    meddle(monkeypatch, asks("GET", "/models"), lambda _: httpx2.Response(200, json={"models": [], "batches": limits}))


def test_every_image_gets_its_heatmap(source: Path, tmp_path: Path, loop: Loop) -> None:
    assert loop.run(source, tmp_path / "out") == 0

    names = [*(f"{index}.png" for index in range(5)), "ward/Müller, Jürgen.jpg"]
    assert [(each["name"], each["state"]) for each in results(tmp_path / "out")] == [(name, "OK") for name in names]
    for name in names:
        assert (tmp_path / "out" / f"{name}.heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "out" / JOURNAL).exists()
    assert list((tmp_path / "out").rglob("*.new")) == []


def test_more_files_than_the_limit_go_into_several_batches(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit(monkeypatch, batch_files=4, call_files=3, file_bytes=10_000_000)
    calls = recorded(monkeypatch, asks("POST", "/batches", "/files"))

    assert loop.run(source, tmp_path / "out") == 0

    assert [path.rpartition("/")[2] for path in calls] == ["batches", "files", "files", "batches", "files"]
    numbered = [(each["batch"], each["number"]) for each in results(tmp_path / "out")]
    first, second = dict.fromkeys(batch for batch, _ in numbered)
    assert numbered == [*((first, number) for number in range(4)), (second, 0), (second, 1)]
    assert len(heatmaps(tmp_path / "out")) == 6
    assert f"6 heatmaps in {tmp_path / 'out'}, 0 failed (batch: {first}, {second})" in capsys.readouterr().out


def test_a_file_over_the_limit_that_the_server_names_is_not_sent(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit(monkeypatch, batch_files=10, call_files=10, file_bytes=5000)

    assert loop.run(source, tmp_path / "out") == 1

    assert len(heatmaps(tmp_path / "out")) == 5
    sentence = "Müller, Jürgen.jpg: FAILED limit.file_bytes (the file is over the limit of 5,000 bytes per file)"
    assert sentence in capsys.readouterr().out


def test_a_server_that_names_no_limits_is_sent_everything_at_once(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    meddle(monkeypatch, asks("GET", "/models"), lambda _: httpx2.Response(200, json={"models": []}))
    calls = recorded(monkeypatch, asks("POST", "/batches", "/files"))

    assert loop.run(source, tmp_path / "out") == 0

    assert [path.rpartition("/")[2] for path in calls] == ["batches", "files"]


@pytest.mark.contract("DICOM objects")
def test_dicom_objects_are_those_of_the_command_without_a_server(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, local, staged = source / "scans", tmp_path / "local", tmp_path / "staged"
    scans.mkdir()
    (scans / "scan.dcm").write_bytes(radiograph())
    shutil.copy(source / "0.png", scans)
    assert heatlens("explain", scans / "scan.dcm", "--dicom", "sc,seg,sr", "-o", local).returncode == 0

    assert loop.run(scans, staged, dicom=["sc", "seg", "sr"], include="overlay") == 1

    names = [f"scan.dcm.heatmap{suffix}" for suffix in (".png", ".sc.dcm", ".seg.dcm", ".sr.dcm")]
    assert sorted(path.name for path in staged.glob("*.heatmap*")) == names
    assert [(staged / name).read_bytes() for name in names] == [(local / name).read_bytes() for name in names]
    assert [(each["name"], each["code"]) for each in results(staged)] == [
        ("0.png", "input.dicom"),
        ("scan.dcm", None),
    ]
    batch = results(staged)[0]["batch"]
    clients = loop.clients(monkeypatch)
    assert not [key for key in versions(clients, "") if "scan" in key or "Doe" in key]
    manifest = clients.s3.get_object(Bucket=BUCKET, Key=f"out/{batch}/manifest.json")["Body"].read().decode()
    assert '"heatmap.sc.dcm"' in manifest
    assert not [value for value in ("Doe", "P-17", "1.2.826.0.1", "2.25.") if value in manifest]


def test_heatmaps_of_an_earlier_run_are_not_sent(source: Path, loop: Loop) -> None:
    for force in (False, True):
        assert loop.run(source, source, force=force) == 0

    assert len(results(source)) == 6


def test_a_file_that_fails_now_has_no_heatmap_of_an_earlier_run(source: Path, tmp_path: Path, loop: Loop) -> None:
    loop.run(source, tmp_path / "out")
    (source / "1.png").write_bytes(b"no image")
    (source / "2.png").write_bytes(b"")

    assert loop.run(source, tmp_path / "out", force=True) == 1

    names = ["0.png", "3.png", "4.png", "ward/Müller, Jürgen.jpg"]
    assert heatmaps(tmp_path / "out") == [f"{name}.heatmap.png" for name in names]


def test_a_finished_batch_is_as_its_manifest_says(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loop.run(source, tmp_path / "out")
    clients = loop.clients(monkeypatch)
    batch = results(tmp_path / "out")[0]["batch"]
    copy = tmp_path / "copy"
    for key in versions(clients, f"out/{batch}/"):
        (copy / key).parent.mkdir(parents=True, exist_ok=True)
        (copy / key).write_bytes(clients.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    manifest = copy / "out" / batch / "manifest.json"

    assert verify_manifest(f"s3://{BUCKET}/out/{batch}/manifest.json") == 0
    assert verify_manifest(str(manifest)) == 0
    assert f"{batch}: 6 files as written" in capsys.readouterr().out

    [overlay] = copy.glob(f"out/{batch}/00002/*/overlay.png")
    overlay.write_bytes(overlay.read_bytes() + b"\0")
    assert verify_manifest(str(manifest)) == 1
    assert capsys.readouterr().err == "file 2: overlay.png is not what was committed\n"


def test_a_run_that_cannot_start_says_why(source: Path, tmp_path: Path, loop: Loop) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"

    with pytest.raises(BatchFailed, match="has no images"):
        loop.run(tmp_path / "empty", out)
    for url, sentence in (
        ("http://127.0.0.1:9", r"does not answer \(ConnectError\): check --url, or run the same command again"),
        ("nonsense", "is not a URL"),
        ("http://127.0.0.1:port", "is not a URL"),
        (loop.storage, "refused|does not answer like a Heatlens server"),
    ):
        with pytest.raises(HeatlensError, match=sentence):
            run_batch(str(source), out, url=url, headers={}, options={})
    with pytest.raises(InvalidRequest, match=r"refused \(422\)"):
        loop.run(source, out, alpha=7)
    (tmp_path / "file").write_text("")
    with pytest.raises(BatchFailed, match="file"):
        loop.run(source, tmp_path / "file")

    assert loop.run(source, out) == 0, "what was refused stands in nobody's way"


def test_images_may_come_from_a_bucket(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = loop.clients(monkeypatch)
    clients.s3.create_bucket(Bucket="elsewhere")
    for path in source.rglob("*.*"):
        key = f"scans/{path.relative_to(source).as_posix()}"
        clients.s3.put_object(Bucket="elsewhere", Key=key, Body=path.read_bytes())
    clients.s3.put_object(Bucket="elsewhere", Key="scans-of-others/a.png", Body=b"x")

    assert loop.run("s3://elsewhere/scans", tmp_path / "out") == 0

    assert len(results(tmp_path / "out")) == 6
    assert (tmp_path / "out" / "ward" / "Müller, Jürgen.jpg.heatmap.png").exists()
    with pytest.raises(NoSource, match="s3://nowhere cannot be read"):
        loop.run("s3://nowhere", tmp_path / "out")
    with pytest.raises(NoSource, match="is not a folder"):
        loop.run(tmp_path / "nowhere", tmp_path / "out")


def test_parses_headers() -> None:
    assert parse_headers(["Authorization: Bearer a:b"]) == {"Authorization": "Bearer a:b"}
    for wrong in ("nonsense", "a: ü", "a: b\nc: d"):
        with pytest.raises(BatchFailed, match="is not a header: write it as Name: value"):
            parse_headers([wrong])


def test_a_bar_shows_the_rate_of_the_server_or_as_measured() -> None:
    now = [0.0]
    task = Task(0, "explain", 100, 0, _get_time=lambda: now[0])  # type: ignore[arg-type]

    assert Pace().render(task).plain == ""
    task.fields.update(rate=2.5, left=90)
    assert Pace().render(task).plain == "2.5/s, 0:01:30 left"
    task.finished_time = 1.0
    assert Pace().render(task).plain == ""
