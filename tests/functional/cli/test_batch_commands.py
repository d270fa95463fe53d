"""`heatlens batch` as it is typed: options, status, results, cancel, purge, retry, and runs that repeat failures."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from heatlens.client import Client
from heatlens_cli.batch.commands import batch as batch_commands
from heatlens_cli.batch.names import JOURNAL
from heatlens_cli.batch.options import read_options
from heatlens_cli.batch.progress_lines import Lines
from heatlens_cli.main import app
from heatlens_cli.sources import Folder
from tests.support.faulty_server import answers, faulty_server
from tests.support.images import encoded, noise
from tests.support.local_server import local_server
from tests.support.loop import Loop, heatmaps, recorded, results
from tests.support.paths import HEATLENS


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.png").write_bytes(encoded(noise((24, 16), seed=index)))
    return folder


def heatlens(words: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(HEATLENS), *words]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, check=False, text=True, timeout=120)


def finished(loop: Loop, files: dict[str, bytes]) -> str:
    """Run a batch to its end, and return its id."""
    with Client(loop.url) as client:
        batch = client.create_batch(files)
        batch.upload()
        batch.wait()
        return batch.id


def test_every_command_has_an_example() -> None:
    for command in batch_commands.registered_commands:
        assert command.callback is not None
        shown = CliRunner().invoke(app, ["batch", command.name or command.callback.__name__, "--help"])
        assert "Example: heatlens batch" in " ".join(shown.output.split())


def test_the_options_of_explain_reach_the_batch(source: Path, tmp_path: Path, loop: Loop) -> None:
    out = tmp_path / "out"
    words = ["batch", "run", str(source), "--out", str(out), "--url", loop.url, "--target", "CLEAR", "--alpha", "0.5"]
    words += ["--include", "overlay,heatmap,map,regions", "--format", "jpeg", "--method", "layercam"]

    done = heatlens([*words, "--threshold", "0.3", "--colormap", "hot", "--contrast", "OPACITY"])

    assert (done.returncode, done.stderr) == (0, "")
    suffixes = [".jpg", ".json", ".map.jpg", ".npy"]
    expected = [f"{name}.png.heatmap{suffix}" for name in range(3) for suffix in suffixes]
    assert sorted(path.name for path in out.iterdir()) == sorted([*expected, "results.jsonl"])
    facts = json.loads((out / "0.png.heatmap.json").read_text())
    assert (facts["explained"]["label"], facts["explained"]["contrast"]) == ("CLEAR", "OPACITY")
    assert (facts["options"]["method"], facts["options"]["alpha"]) == ("layercam", 0.5)
    assert facts["regions"]["threshold"] == pytest.approx(0.3)
    assert np.load(out / "0.png.heatmap.npy").ndim == 2
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("upload")] == [f"upload {done} of 3" for done in (1, 2, 3)]
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--target", "a", "--target", "b"], "target: a staged batch explains one class of each image: run it once"),
        (["--include", "everything"], "everything: unknown name; known are overlay, heatmap, map, regions,"),
        (["--alpha", "7"], "alpha is 7.0: "),
        (["--header", "nonsense"], "'nonsense' is not a header: write it as Name: value"),
        (["--url", "nonsense"], "nonsense is not a URL of a server: write it as http://HOST:PORT"),
        (["--url", "http://127.0.0.1:9"], "http://127.0.0.1:9 does not answer (ConnectError): check --url, or run"),
    ],
)
def test_a_wrong_option_fails_once_and_leaves_nothing(
    words: list[str], sentence: str, source: Path, tmp_path: Path
) -> None:
    done = heatlens(["batch", "run", str(source), "--out", str(tmp_path / "out"), *words])

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_address_is_checked_before_a_file_is_read(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    chunks = Folder.chunks
    monkeypatch.setattr(Folder, "chunks", lambda self, image: read.append(image.name) or chunks(self, image))  # type: ignore[func-returns-value]

    with faulty_server(None, answers(200, b"<html>")) as other:
        shown = CliRunner().invoke(app, ["batch", "run", str(source), "--out", str(tmp_path), "--url", other.url])

    assert (shown.exit_code, other.calls(), read) == (1, ["GET /api/inference/models"], [])
    assert loop.run(source, tmp_path / "out") == 0
    assert sorted(set(read)) == ["0.png", "1.png", "2.png"], "the counter works"


def test_a_finished_run_with_one_failure_repeats_only_that_one(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, good = tmp_path / "out", (source / "1.png").read_bytes()
    (source / "1.png").write_bytes(b"no image")
    assert loop.run(source, out) == 1
    assert "run the same command again to repeat those that failed" in capsys.readouterr().out
    assert (out / JOURNAL).exists()
    first = {each["name"]: each["batch"] for each in results(out)}
    sent = recorded(monkeypatch, lambda request: request.method == "PUT" or "overlay" in request.url.path)

    assert loop.run(source, out) == 1, "it fails again"
    assert len(sent) == 1
    (source / "1.png").write_bytes(good)
    assert loop.run(source, out) == 0

    assert len(sent) == 1 + 2, "one upload, one heatmap"
    assert (len(heatmaps(out)), (out / JOURNAL).exists()) == (3, False)
    last = {each["name"]: each["batch"] for each in results(out)}
    assert [name for name in first if first[name] == last[name]] == ["0.png", "2.png"]


def test_a_finished_run_is_made_anew_with_force_or_other_options(source: Path, tmp_path: Path, loop: Loop) -> None:
    (source / "1.png").write_bytes(b"no image")
    out = tmp_path / "out"
    assert loop.run(source, out) == 1
    before = {each["batch"] for each in results(out)}

    assert loop.run(source, out, force=True) == 1
    again = {each["batch"] for each in results(out)}
    assert loop.run(source, out, force=True, colormap="hot") == 1

    assert before.isdisjoint(again)
    assert again.isdisjoint({each["batch"] for each in results(out)})


def test_pictures_of_an_earlier_run_in_the_same_folder_are_no_images(source: Path, loop: Loop) -> None:
    for _ in range(2):
        assert loop.run(source, source, force=True, include=["overlay", "heatmap"], format="jpeg") == 0

    assert [each["name"] for each in results(source)] == ["0.png", "1.png", "2.png"]
    assert len(list(source.glob("*.jpg"))) == 6


def test_a_batch_is_followed_by_its_id(tmp_path: Path, loop: Loop) -> None:
    files = {"a.png": encoded(noise((24, 16))), "b.png": b"no image"}
    batch = finished(loop, files)

    state = heatlens(["batch", "status", batch, "--url", loop.url])
    listed = heatlens(["batch", "results", batch, "--url", loop.url])
    as_json = heatlens(["batch", "results", batch, "--json", "--out", str(tmp_path)], HEATLENS_URL=loop.url)

    assert state.stdout == f"batch {batch}: partial, 2 of 2 files declared\n1 OK, 1 FAILED\n"
    assert state.returncode == 0
    assert listed.returncode == as_json.returncode == 1
    assert listed.stdout.splitlines()[1] == "b.png: FAILED input.unsupported"
    assert listed.stdout.startswith("a.png: ")
    objects = [json.loads(line) for line in as_json.stdout.splitlines() if line.startswith("{")]
    assert [(each["name"], each["state"], "links" in each) for each in objects] == [
        ("a.png", "OK", False),
        ("b.png", "FAILED", False),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"a.png.heatmap{suffix}" for suffix in (".json", ".npy", ".png")
    ]


def test_a_batch_is_repeated_cancelled_and_purged(loop: Loop) -> None:
    batch = finished(loop, {"a.png": b"no image"})

    again = heatlens(["batch", "retry", batch, "--url", loop.url])
    cancelled = heatlens(["batch", "cancel", batch, "--url", loop.url])
    asked = heatlens(["batch", "purge", batch, "--url", loop.url])
    purged = heatlens(["batch", "purge", batch, "--yes", "--url", loop.url])

    assert again.returncode == 1
    assert f" repeats what failed in {batch}" in again.stdout
    assert again.stdout.endswith("a.png: FAILED input.unsupported\n")
    assert cancelled.stdout.startswith(f"batch {batch}: failed, ")
    assert asked.returncode == 1, "nobody said yes"
    assert purged.returncode == 0
    assert purged.stdout.startswith(f"batch {batch}: purg")
    assert "late uploads are erased until " in purged.stdout


@pytest.mark.parametrize("command", ["status", "results", "cancel", "retry"])
def test_a_batch_that_is_not_there_is_one_sentence(command: str, loop: Loop) -> None:
    done = heatlens(["batch", command, "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--url", loop.url])

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "the server refused (404): no such batch\n"


def test_headers_and_signatures_are_sent() -> None:
    key = "abcdefghijklmnopqrst"
    words = ["batch", "status", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--url"]
    with local_server(HEATLENS_API_KEYS=f"ward={key}") as port:
        url = f"http://127.0.0.1:{port}"
        refused, known = heatlens([*words, url]), heatlens([*words, url, "--header", f"x-api-key: {key}"])
    account = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1"}
    with faulty_server(None, answers(404)) as server:
        heatlens([*words, server.url, "--iam"], **account)

    assert "needs an API key" in refused.stderr
    assert "staged batches are not set up" in known.stderr
    assert server.seen[0].headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")


def test_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.expect("upload", 400)
    lines.expect("upload", 600)
    for _ in range(1000):
        lines.advance("upload")
    lines.expect("explain", 0)
    lines.show("explain", 0, rate=None, left=None)

    assert capsys.readouterr().out.splitlines() == [
        "upload 1 of 1000",
        *(f"upload {done}00 of 1000" for done in range(1, 11)),
    ]


def test_only_what_differs_is_sent() -> None:
    given: Any = {"colormap": "jet", "alpha": 0.4, "target": [], "scale": "image", "window": None}

    assert read_options(given, "overlay", None) == {"include": ["overlay"]}
