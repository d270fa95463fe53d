"""The command as a person types it."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from functions.cli.events import HttpRequest
from tests.conftest import HEATLENS, ROOT, SAMPLES
from tests.contract.doors import http_door

JPEG = SAMPLES / "phantom-03-opacity.jpg"


def heatlens(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HEATLENS, *map(str, words)], capture_output=True, check=False, text=True, timeout=120)


@pytest.mark.parametrize("command", ["explain", "invoke"])
def test_each_image_gets_a_line_and_a_picture(command: str, tmp_path: Path) -> None:
    done = heatlens(command, JPEG, "-o", tmp_path / "new" / "out")

    target = tmp_path / "new" / "out" / "phantom-03-opacity.png"
    assert done.returncode == 0, done.stderr
    head, line = done.stdout.splitlines()
    assert head.split() == ["file", "class", "probability", "ms", "heatmap"]
    name, label, probability, elapsed, path = line.split()
    assert (name, label, path) == (JPEG.name, "OPACITY", str(target))
    assert 0.5 < float(probability) <= 1
    assert float(elapsed) > 0
    assert target.read_bytes().startswith(b"\x89PNG")


def test_explain_and_invoke_make_the_same_picture(tmp_path: Path) -> None:
    for command in ("explain", "invoke"):
        heatlens(command, JPEG, "-o", tmp_path / command, "--colormap", "hot", "--alpha", "0.7")

    name = "phantom-03-opacity.png"
    assert (tmp_path / "explain" / name).read_bytes() == (tmp_path / "invoke" / name).read_bytes()


@pytest.mark.parametrize("command", ["explain", "invoke"])
def test_bad_files_are_named_and_the_others_done(command: str, tmp_path: Path) -> None:
    text = tmp_path / "[notes].png"
    text.write_text("no image")

    done = heatlens(command, text, tmp_path / "gone.png", JPEG, "-o", tmp_path / "out")

    assert done.returncode == 1
    assert f"{text}: the bytes are not an image of a supported type" in done.stderr
    assert f"{tmp_path / 'gone.png'}: No such file or directory" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["phantom-03-opacity.png"]
    assert "Traceback" not in done.stderr


def test_two_images_of_one_stem_do_not_overwrite_each_other(tmp_path: Path) -> None:
    shutil.copy(JPEG, tmp_path / "a.jpg")
    shutil.copy(JPEG, tmp_path / "a.jpeg")

    heatlens("explain", tmp_path / "a.jpg", tmp_path / "a.jpeg", "-o", tmp_path / "out")

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a-2.png", "a.png"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["explain", JPEG, "--alpha", "0.95"], "alpha is 0.95: it must lie between 0.1 and 0.9"),
        (["explain", JPEG, "--colormap", "rainbow"], "unknown colormap 'rainbow': one of jet, hot, viridis"),
        (["explain", JPEG, "--model", "nowhere"], "no readable card.json in the model folder 'nowhere'"),
        (["invoke", JPEG, "--kind", "smtp"], "unknown event kind 'smtp': one of http-api-v2"),
        (["compile", "nowhere.toml", "-o", "out"], "nowhere.toml"),
    ],
)
def test_wrong_words_get_a_sentence(words: list[object], sentence: str, tmp_path: Path) -> None:
    done = heatlens(*words, *(["-o", tmp_path] if words[0] != "compile" else []))

    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_compile_without_torch_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; from functions.cli.main import app; app('compile a -o b'.split())"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)

    assert done.returncode == 1
    assert "pip install 'heatlens[torch]'" in done.stderr


def test_serve_answers_and_ends_when_interrupted() -> None:
    words = [str(HEATLENS), "serve", "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline().split()[2].rpartition(":")[2])

    answer = http_door(port)(HttpRequest("/api/inference/health", method="GET"))
    server.send_signal(signal.SIGINT)
    _, errors = server.communicate(timeout=30)

    assert json.loads(answer.body)["status"] == "healthy"
    assert server.returncode == 0
    assert errors == ""


def test_a_port_in_use_gets_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = heatlens("serve", "--port", port)

    assert done.returncode == 1
    assert done.stderr == f"port {port} is in use: choose another, for example PORT={port + 1}\n"


def test_the_makefile_prints_its_commands_by_default() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, check=True, text=True)

    for target in ("run", "test", "lint", "dev"):
        assert f"  make {target} " in done.stdout
