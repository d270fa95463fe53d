"""`heatlens batch run` against the whole loop on this machine."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from functions.cli import batch_run
from functions.cli.batch_run import NOTES, BatchFailed, run_batch
from functions.cli.sources import NoSource
from functions.cli.verify import faults, verify_manifest
from heatlens_aws.clients import Clients, connect
from heatlens_aws.settings import AwsSettings
from infra.local_account import BUCKET, CREDENTIALS
from tests.conftest import ROOT, SAMPLES, encoded, noise


@dataclass(frozen=True)
class Loop:
    url: str
    storage: str

    def clients(self, monkeypatch: pytest.MonkeyPatch) -> Clients:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        return connect(AwsSettings(endpoint_url=self.storage))


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    words = [sys.executable, "infra/local_batches.py"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        said = process.stdout.readline().split()
        yield Loop(said[3].removesuffix("/api/inference/batches,"), said[-1])
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


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


def run(source: Path, folder: Path, loop: Loop) -> int:
    return run_batch(str(source), folder, url=loop.url, headers={}, options={})


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def versions(clients: Clients, prefix: str) -> list[str]:
    answer = clients.s3.list_object_versions(Bucket=BUCKET, Prefix=prefix)
    return [each["Key"] for each in answer.get("Versions", [])]


def newest_batch(clients: Clients) -> str:
    return max(key.split("/")[1] for key in versions(clients, "out/") if "drop" not in key)


def test_every_image_gets_its_heatmap(source: Path, tmp_path: Path, loop: Loop) -> None:
    assert run(source, tmp_path / "out", loop) == 0

    names = [*(f"{index}.png" for index in range(5)), "ward/Müller, Jürgen.jpg"]
    assert [(each["name"], each["state"]) for each in results(tmp_path / "out")] == [(name, "OK") for name in names]
    for name in names:
        assert (tmp_path / "out" / f"{name}.heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "out" / NOTES).exists()


def test_interrupted_and_run_again_it_sends_only_what_is_missing(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    put = httpx2.Client.put

    def counted(client: httpx2.Client, url: str, **request: Any) -> httpx2.Response:  # noqa: ANN401 - passes through
        if len(sent) == stop_after:
            raise KeyboardInterrupt
        response = put(client, url, **request)
        sent.append(url)
        return response

    monkeypatch.setattr(batch_run, "UPLOADS_AT_ONCE", 1)
    monkeypatch.setattr(httpx2.Client, "put", counted)
    stop_after = 4
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "out", loop)
    first = json.loads((tmp_path / "out" / NOTES).read_text())["batch_id"]
    stop_after = -1
    assert run(source, tmp_path / "out", loop) == 0

    assert len(sent) == 6
    clients = loop.clients(monkeypatch)
    assert versions(clients, "in/" + first) == [f"in/{first}/{number:05d}" for number in range(6)]
    assert len(results(tmp_path / "out")) == 6


def test_a_bad_file_fails_alone(source: Path, tmp_path: Path, loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "broken.png").write_bytes(b"no image")

    assert run(source, tmp_path / "out", loop) == 1

    states = {each["name"]: (each["state"], each["code"]) for each in results(tmp_path / "out")}
    assert states.pop("broken.png") == ("FAILED", "input.unsupported")
    assert set(states.values()) == {("OK", None)}
    assert "broken.png: FAILED input.unsupported" in capsys.readouterr().out


def test_running_again_where_the_results_are_leaves_them_out(source: Path, loop: Loop) -> None:
    for _ in range(2):
        assert run(source, source, loop) == 0

    assert len(results(source)) == 6


def test_a_finished_batch_is_as_its_manifest_says(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(source, tmp_path / "out", loop)
    clients = loop.clients(monkeypatch)
    monkeypatch.setenv("HEATLENS_ENDPOINT_URL", loop.storage)
    batch = newest_batch(clients)
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
    assert "file 2: overlay.png is not what was committed" in capsys.readouterr().err


def test_verify_sees_every_kind_of_fault() -> None:
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of nothing
    manifest = {
        "batch": "B",
        "counts": {"OK": 1},
        "results": {"key": "results", "sha256": digest},
        "files": [{"number": 0, "state": "OK", "outcome": {"attempt": "a", "objects": {"map.npy": digest}}}],
    }
    whole = {"results": b"", "out/B/00000/a/map.npy": b""}

    nothing: dict[str, bytes] = {}

    assert faults(manifest, whole.get) == ["results.jsonl has 0 lines for 1 files"]
    assert "results.jsonl is missing" in faults(manifest, nothing.get)
    assert "file 0: map.npy is missing" in faults(manifest, nothing.get)
    assert any("counted" in fault for fault in faults(manifest | {"counts": {"OK": 2}}, whole.get))
    gap = [manifest["files"][0] | {"number": 1}]  # type: ignore[index]
    assert any("numbered" in fault for fault in faults(manifest | {"files": gap}, whole.get))


def test_what_cannot_be_run_gets_a_sentence(source: Path, tmp_path: Path, loop: Loop) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(BatchFailed, match="has no images"):
        run(tmp_path / "empty", tmp_path / "out", loop)
    with pytest.raises(BatchFailed, match="does not answer"):
        run_batch(str(source), tmp_path / "out", url="http://127.0.0.1:9", headers={}, options={})
    with pytest.raises(BatchFailed, match=r"refused \(422\)"):
        run_batch(str(source), tmp_path / "out", url=loop.url, headers={}, options={"alpha": 7})


def test_images_may_come_from_a_bucket(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = loop.clients(monkeypatch)
    monkeypatch.setenv("HEATLENS_ENDPOINT_URL", loop.storage)
    clients.s3.create_bucket(Bucket="elsewhere")
    for path in source.rglob("*.*"):
        key = f"scans/{path.relative_to(source).as_posix()}"
        clients.s3.put_object(Bucket="elsewhere", Key=key, Body=path.read_bytes())
    clients.s3.put_object(Bucket="elsewhere", Key="scans-of-others/a.png", Body=b"x")

    assert run_batch("s3://elsewhere/scans", tmp_path / "out", url=loop.url, headers={}, options={}) == 0

    assert len(results(tmp_path / "out")) == 6
    assert (tmp_path / "out" / "ward" / "Müller, Jürgen.jpg.heatmap.png").exists()
    with pytest.raises(NoSource, match="s3://nowhere cannot be read"):
        run_batch("s3://nowhere", tmp_path / "out", url=loop.url, headers={}, options={})
    with pytest.raises(NoSource, match="is no folder"):
        run_batch(str(tmp_path / "nowhere"), tmp_path / "out", url=loop.url, headers={}, options={})


def test_headers_are_written_as_people_write_them() -> None:
    assert batch_run.parse_headers(["Authorization: Bearer a:b"]) == {"Authorization": "Bearer a:b"}
    with pytest.raises(BatchFailed, match="'nonsense' is no header"):
        batch_run.parse_headers(["nonsense"])
