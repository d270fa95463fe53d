"""`heatlens batch run` after an interruption: nothing is lost or sent twice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from heatlens_cli import worker_pool
from heatlens_cli.batch.journal import BatchFailed
from heatlens_cli.batch.names import JOURNAL
from heatlens_cli.explain_files import WouldOverwrite
from tests.support.images import encoded, noise
from tests.support.loop import Loop, Wanted, asks, heatmaps, meddle, recorded, results, versions

API = "/api/inference/batches"
STEPS: dict[str, Wanted] = {
    "create": asks("POST", API),
    "declare": asks("POST", "/files"),
    "links": asks("POST", "/files/links"),
    "upload": asks("PUT", "/00001"),
    "close": asks("POST", "/close"),
    "status": lambda request: request.method == "GET" and request.url.path.rpartition("/")[0] == API,
    "results": asks("GET", "/results"),
    "result": asks("GET", "result.json"),
    "overlay": asks("GET", "overlay.png"),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for index in range(3):
        write(folder / f"{index}.png", seed=index)
    return folder


def write(path: Path, *, size: tuple[int, int] = (24, 16), seed: int = 9) -> None:
    path.write_bytes(encoded(noise(size, seed=seed)))


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def interrupt(monkeypatch: pytest.MonkeyPatch, loop: Loop, source: Path, out: Path, step: str, *, after: bool) -> None:
    """Run until a step, and press Ctrl-C before the server hears of it, or when it has done it."""

    def press(call: Callable[[], httpx2.Response]) -> Any:  # noqa: ANN401 - never
        if after:
            call().close()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        meddle(patch, STEPS[step], press)
        with pytest.raises(KeyboardInterrupt):
            loop.run(source, out)


def noted(out: Path) -> list[str]:
    return [part["batch_id"] for part in json.loads((out / JOURNAL).read_text())["parts"]]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_run_can_be_resumed_at_every_step(
    step: str, source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    clients, out = loop.clients(monkeypatch), tmp_path / "out"
    before = len(versions(clients, "in/"))
    interrupt(monkeypatch, loop, source, out, step, after=after)

    assert loop.run(source, out) == 0

    assert [(each["name"], each["state"]) for each in results(out)] == [(f"{n}.png", "OK") for n in range(3)]
    assert len({each["batch"] for each in results(out)}) == 1
    assert len(versions(clients, "in/")) - before == 3, "each was uploaded once"
    assert sorted(path.name for path in out.iterdir()) == [*heatmaps(out), "results.jsonl"]
    assert len(heatmaps(out)) == 3


def test_a_batch_interrupted_while_declaring_is_erased(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, loop, source, tmp_path / "out", "declare", after=True)
    [first] = noted(tmp_path / "out")

    loop.run(source, tmp_path / "out")

    assert httpx2.get(f"{loop.url}{API}/{first}").json()["state"] in ("purging", "purged")


def test_a_resumed_run_uploads_only_missing_files(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "THREADS", 1)
    puts = recorded(monkeypatch, lambda request: request.method == "PUT")
    interrupt(monkeypatch, loop, source, tmp_path / "out", "upload", after=False)
    assert loop.run(source, tmp_path / "out") == 0

    numbers = [path[-5:] for path in puts]
    assert set(numbers) == {"00000", "00001", "00002"}
    assert numbers.count("00000") == 1, "it was there; 00002 may have been on its way when Ctrl-C came"


def test_a_resumed_run_downloads_only_missing_or_damaged_heatmaps(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "THREADS", 1)
    gets = recorded(monkeypatch, asks("GET", "overlay.png"))
    last: Wanted = lambda request: "00002" in request.url.path and asks("GET", "overlay.png")(request)  # noqa: E731
    monkeypatch.setitem(STEPS, "last overlay", last)
    interrupt(monkeypatch, loop, source, tmp_path / "out", "last overlay", after=False)
    whole = (tmp_path / "out" / "0.png.heatmap.png").read_bytes()
    (tmp_path / "out" / "0.png.heatmap.png").write_bytes(whole[:-1])
    gets.clear()

    assert loop.run(source, tmp_path / "out") == 0

    assert [path.split("/")[-3] for path in gets] == ["00000", "00002"]
    assert (tmp_path / "out" / "0.png.heatmap.png").read_bytes() == whole


@pytest.mark.parametrize("step", ["declare", "close", "results"])
def test_a_file_added_before_resuming_goes_into_a_further_batch(
    step: str, source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, loop, source, tmp_path / "out", step, after=False)
    write(source / "late.png")

    assert loop.run(source, tmp_path / "out") == 0

    assert len(heatmaps(tmp_path / "out")) == 4
    assert len({each["batch"] for each in results(tmp_path / "out")}) == (1 if step == "declare" else 2)


@pytest.mark.parametrize("step", ["declare", "links", "close", "results"])
def test_a_file_changed_before_resuming_gets_a_new_heatmap(
    step: str, source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, loop, source, tmp_path / "out", step, after=False)
    write(source / "1.png", size=(64, 64))

    assert loop.run(source, tmp_path / "out") == 0

    assert sorted(each["name"] for each in results(tmp_path / "out")) == ["0.png", "1.png", "2.png"]
    sizes = [size(tmp_path / "out" / name) for name in heatmaps(tmp_path / "out")]
    assert sizes == [(24, 16), (64, 64), (24, 16)]


def test_a_file_removed_before_its_upload_fails_alone(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(monkeypatch, loop, source, tmp_path / "out", "links", after=False)
    (source / "1.png").unlink()

    assert loop.run(source, tmp_path / "out") == 1

    states = [(each["name"], each["state"], each["code"]) for each in results(tmp_path / "out")]
    assert states == [("0.png", "OK", None), ("1.png", "MISSING", "source.unreadable"), ("2.png", "OK", None)]
    assert "1.png: MISSING source.unreadable (No such file or directory)" in capsys.readouterr().out


def test_a_file_removed_after_its_upload_succeeds(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, loop, source, tmp_path / "out", "close", after=False)
    for path in source.iterdir():
        path.unlink()

    assert loop.run(source, tmp_path / "out") == 0

    assert len(heatmaps(tmp_path / "out")) == 3


@pytest.mark.parametrize("purged", [False, True])
def test_unfinished_files_of_an_ended_batch_go_into_another(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch, *, purged: bool
) -> None:
    interrupt(monkeypatch, loop, source, tmp_path / "out", "links", after=False)
    [first] = noted(tmp_path / "out")
    httpx2.delete(f"{loop.url}{API}/{first}", params={"purge": purged}).raise_for_status()

    assert loop.run(source, tmp_path / "out") == 0

    assert len(heatmaps(tmp_path / "out")) == 3
    assert first not in {each["batch"] for each in results(tmp_path / "out")}


def test_another_run_in_the_same_folder_is_refused_with_the_differences(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    interrupt(monkeypatch, loop, source, out, "close", after=True)
    other.mkdir()
    write(other / "0.png", size=(48, 32))

    with pytest.raises(BatchFailed, match=rf"source was {source}, is {other}.*run that one again to finish it"):
        loop.run(other, out)
    with pytest.raises(BatchFailed, match=r"options was \{\}, is \{'colormap': 'hot'\}.*or remove .*batch.json"):
        loop.run(source, out, colormap="hot")
    assert loop.run(source, out) == 0
    with pytest.raises(WouldOverwrite, match="exist: name another --out, or --force to overwrite them"):
        loop.run(other, out)


@pytest.mark.parametrize("notes", ["[]", "{", '{"batch_id": "B", "files": []}', "\xff"])
def test_a_damaged_journal_is_reported_in_one_line(notes: str, source: Path, tmp_path: Path, loop: Loop) -> None:
    (tmp_path / JOURNAL).write_text(notes, encoding="latin-1")

    with pytest.raises(BatchFailed, match="is damaged, or another version's: remove it to start anew"):
        loop.run(source, tmp_path)
