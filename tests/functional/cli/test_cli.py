"""The commands, run as processes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from heatlens.card import Parity, read_card
from heatlens.settings import DEMO_MODEL
from heatlens_cli.commands.models import compile_
from heatlens_cli.events.http_events import HttpRequest
from heatlens_cli.file_explanation import warnings_of
from tests.contract.clients import http_client
from tests.support.paths import HEATLENS, ROOT, SAMPLES

ANYWHERE = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "layers"), str(ROOT)])}
CONFORMANCE = ROOT / "tests" / "contract" / "conformance"
JPEG = SAMPLES / "phantom-03-opacity.jpg"
DEMO_NOTICE = read_card(DEMO_MODEL)[0].notice


def heatlens(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HEATLENS, *map(str, words)], capture_output=True, check=False, text=True, timeout=120)


@pytest.mark.parametrize("command", ["explain", "dev invoke"])
def test_each_image_gets_a_line_and_a_picture(command: str, tmp_path: Path) -> None:
    done = heatlens(*command.split(), JPEG, "-o", tmp_path / "new" / "out")

    target = tmp_path / "new" / "out" / "phantom-03-opacity.jpg.heatmap.png"
    assert done.returncode == 0, done.stderr
    head, line, *notice = done.stdout.splitlines()
    assert notice == ([f"notice: {DEMO_NOTICE}"] if command == "explain" else [])
    assert head.split() == ["file", "prediction", "probability", "quality", "heatmap"]
    name, label, probability, quality, path = line.split()
    assert (name, label, quality, path) == (str(JPEG), "OPACITY", "ok", str(target))
    assert 0.5 < float(probability) <= 1
    assert target.read_bytes().startswith(b"\x89PNG")


@pytest.mark.contract("familiarity")
@pytest.mark.parametrize("command", ["explain", "dev invoke"])
def test_an_unfamiliar_image_has_a_warning_below_its_line(command: str, tmp_path: Path) -> None:
    image = tmp_path / "black.png"
    Image.new("L", (64, 64)).save(image)

    done = heatlens(*command.split(), image, "-o", tmp_path / "out")

    assert done.returncode == 0, done.stderr
    _, line, warning, *_ = done.stdout.splitlines()
    assert line.startswith(str(image))
    assert warning.startswith("  warning: unfamiliar: unlike the images that the model was calibrated on")


def test_weak_and_empty_maps_have_a_warning() -> None:
    assert warnings_of({"A": "ok"}, unfamiliar=False) == []
    assert warnings_of({"A": "ok", "B": "weak", "C": "empty"}, unfamiliar=False) == [
        "B: weak map, with little evidence for the class",
        "C: empty map, with no evidence for the class",
    ]


@pytest.mark.contract("same bytes", "CLI")
def test_explain_and_invoke_make_the_same_picture(tmp_path: Path) -> None:
    for command in ("explain", "dev invoke"):
        heatlens(*command.split(), JPEG, "-o", tmp_path / command, "--colormap", "hot", "--alpha", "0.7")

    name = "phantom-03-opacity.jpg.heatmap.png"
    assert (tmp_path / "explain" / name).read_bytes() == (tmp_path / "dev invoke" / name).read_bytes()


def test_explain_applies_format_and_window(tmp_path: Path) -> None:
    scan = tmp_path / "scan.dcm"
    scan.write_bytes((CONFORMANCE / "window.dcm").read_bytes())

    for folder, words in {"own": [], "wide": ["--window", "40,4000"]}.items():
        done = heatlens("explain", scan, "-o", tmp_path / folder, "--format", "webp", *words)
        assert done.returncode == 0, done.stderr

    pictures = [(tmp_path / folder / "scan.dcm.heatmap.webp").read_bytes() for folder in ("own", "wide")]
    assert [(data[:4], data[8:12]) for data in pictures] == [(b"RIFF", b"WEBP")] * 2
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize("command", ["explain", "dev invoke"])
def test_bad_files_are_reported_and_the_others_explained(command: str, tmp_path: Path) -> None:
    text = tmp_path / "[notes].png"
    text.write_text("no image")

    done = heatlens(*command.split(), text, tmp_path / "gone.png", JPEG, "-o", tmp_path / "out")

    assert done.returncode == 1
    assert f"{text}: the bytes are not an image of a supported type" in done.stderr
    assert f"{tmp_path / 'gone.png'}: No such file or directory" in done.stderr
    made = [path.name for path in (tmp_path / "out").rglob("*.*")]
    assert made == ["phantom-03-opacity.jpg.heatmap.png"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["explain", "dev invoke"])
def test_a_folder_that_cannot_be_written_is_reported_in_one_line(command: str, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    (tmp_path / "out" / "phantom-03-opacity.jpg.heatmap.png").mkdir(parents=True)

    for folder, sentence in ((taken, "File exists"), (tmp_path / "out", "cannot be written: Is a directory")):
        done = heatlens(*command.split(), JPEG, "-o", folder, "--force")
        assert done.returncode == 1
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["explain", "dev invoke"])
@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("HEATLENS_THREADS", "abc", "HEATLENS_THREADS: Input should be a valid integer"),
        ("HEATLENS_MODEL_DIR", "/nowhere/at/all", "no readable card.json in the model folder 'all'"),
    ],
)
def test_an_invalid_setting_is_reported_in_one_line(
    command: str, variable: str, value: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    done = heatlens(*command.split(), JPEG, "-o", tmp_path)

    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["explain", JPEG, "--alpha", "0.95"], "alpha is 0.95: Input should be less than or equal to 0.9"),
        (["explain", JPEG, "--colormap", "rainbow"], "colormap is 'rainbow': Input should be 'jet', 'hot', 'viridis'"),
        (["explain", JPEG, "--model", "nowhere"], "no readable card.json in the model folder 'nowhere'"),
        (["explain", JPEG, "--format", "gif"], "format is 'gif': Input should be 'png', 'jpeg' or 'webp'"),
        (["explain", JPEG, "--window", "40"], "window is '40': a window is centre,width, such as 40,400"),
        (["dev", "invoke", JPEG, "--kind", "smtp"], "unknown event kind 'smtp': one of http-api-v2"),
        (["compile", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_an_invalid_argument_is_reported_in_one_line(words: list[object], sentence: str, tmp_path: Path) -> None:
    done = heatlens(*words, "-o", tmp_path / "out")

    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["compile torchvision:resnet18 -o b", "inspect torchvision:resnet18"])
def test_what_needs_torch_says_what_to_install(words: str) -> None:
    program = f"import sys; sys.modules['torch'] = None; from heatlens_cli.main import app; app({words!r}.split())"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)

    assert done.returncode == 1
    assert "pip install 'heatlens[torch]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_compiled_model_is_inspected_without_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; from heatlens_cli.main import app; "
        f"app(['inspect', {str(DEMO_MODEL)!r}])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)

    assert done.stdout.startswith("demo-chest-phantom 1  sha256 ")
    assert re.search(r"^proven      features equals pytorch-grad-cam \S+ on 32 inputs, 32 ", done.stdout, re.M)


DESCRIPTION = """
architecture = "torchvision:resnet18"
weights = "seed:0"
classes = ["a", "b"]
output = "softmax"
preprocess = { resize = [64, 64], mean = [0.5, 0.5, 0.5], std = [0.2, 0.2, 0.2] }
"""


def test_a_mistake_in_a_description_is_reported_before_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text(DESCRIPTION.replace("output", "outptu"))
    arguments = ["compile", str(tmp_path / "model.toml"), "-o", str(tmp_path / "out")]
    program = (
        f"import sys; from heatlens_cli.main import app; app({arguments!r}, standalone_mode=False) == 1 or "
        "print('torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)

    assert done.stderr == "model.toml:5: outptu: not a key of a description\n"
    assert "torch" not in done.stdout


def test_compiling_says_what_was_proven_of_every_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = read_card(DEMO_MODEL)[0]
    proof = Parity(
        inputs=32, nonempty=30, signed_map=2e-6, gradient=3e-7, logits=4e-8, threshold=1e-4, reference="the referee 2"
    )
    found = {"parity": proof, "agreements": {}, "sanity": None}
    layers = [demo.layers[0].model_copy(update={"name": name} | found) for name in ("late", "early[1]")]
    card = demo.model_copy(update={"layers": tuple(layers), "combined": 5e-6})
    monkeypatch.setattr("heatlens_torch.compile.compile_described", lambda *_args, **_options: card)
    (tmp_path / "model.toml").write_text(DESCRIPTION)

    compile_(str(tmp_path / "model.toml"), tmp_path / "out", with_torch=False)

    figures = (
        "equals the referee 2 on 32 inputs, 30 with a map: "
        "signed map 2.0e-06, gradient 3.0e-07, logits 4.0e-08 (at most 1e-04)"
    )
    combined = "combined, all 2 layers: 5.0e-06 (at most 1e-04)"
    done, *shown = capsys.readouterr().out.splitlines()
    assert done.endswith(" s  done")
    assert shown == [f"late {figures}", f"early[1] {figures}", combined]


def test_init_model_needs_no_torch(tmp_path: Path) -> None:
    program = "import sys; sys.modules['torch'] = None; from heatlens_cli.main import app; app(['init-model'])"

    for expected in (0, 1):  # the second time the file is there
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=ANYWHERE, check=False)
        assert done.returncode == expected
    assert (tmp_path / "model.toml").read_text().startswith("# A model description")


def test_serve_answers_and_ends_when_interrupted() -> None:
    words = [str(HEATLENS), "serve", "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline().split()[2].rpartition(":")[2])

    answer = http_client(port)(HttpRequest("/api/inference/health", method="GET"))
    server.send_signal(signal.SIGINT)
    _, errors = server.communicate(timeout=30)

    assert json.loads(answer.body)["status"] == "healthy"
    assert server.returncode == 0
    assert [line for line in errors.splitlines() if " INFO " not in line] == []


def test_a_port_in_use_is_reported_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = heatlens("serve", "--port", port)

    assert done.returncode == 1
    assert done.stderr == f"port {port} is in use: choose another (heatlens serve --port N, make run PORT=N)\n"


def test_the_makefile_prints_its_commands_by_default() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, check=True, text=True)

    for target in ("run", "test", "lint", "dev"):
        assert f"  make {target} " in done.stdout


def test_an_interrupted_batch_ends_with_one_line(tmp_path: Path) -> None:
    shutil.copy(JPEG, tmp_path / "a.jpg")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        words = [str(HEATLENS), "batch", "run", str(tmp_path), "-o", str(tmp_path / "out"), "--url", url]
        run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with silent.accept()[0]:  # it waits for an answer now
            run.send_signal(signal.SIGINT)
            _, errors = run.communicate(timeout=30)

    assert (run.returncode, errors) == (130, "interrupted: run the same command again to continue\n")


def test_a_folder_is_explained_with_all_that_is_asked_for(tmp_path: Path) -> None:
    for name in ("a/scan.jpg", "b/scan.jpg"):
        (tmp_path / "ward" / name).parent.mkdir(parents=True)
        shutil.copy(JPEG, tmp_path / "ward" / name)
    (tmp_path / "ward" / "a" / "broken.png").write_text("no image")
    words = ["--include", "overlay,heatmap,map,regions", "--scale", "absolute", "--threshold", "0.3", "--json"]

    done = heatlens("explain", tmp_path / "ward", "-o", tmp_path / "out", *words)

    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(line["file"]).relative_to(tmp_path).as_posix() for line in lines] == [
        "ward/a/broken.png",
        "ward/a/scan.jpg",
        "ward/b/scan.jpg",
    ]
    assert "error" in lines[0]
    kinds = [".png", ".map.png", ".npy", ".json"]
    assert lines[2]["files"] == [str(tmp_path / "out" / "b" / f"scan.jpg.heatmap{kind}") for kind in kinds]
    facts = json.loads(Path(lines[2]["files"][3]).read_text())
    assert facts["explained"][0]["regions"]["threshold"] == 0.3
    assert facts["explained"][0]["full_heat"] > 0
    again = heatlens("explain", tmp_path / "ward" / "b", "-o", tmp_path / "out" / "b", *words)
    assert "exists: choose another --out, or --force to overwrite it" in again.stderr


def test_an_image_comes_from_standard_input(tmp_path: Path) -> None:
    with JPEG.open("rb") as file:
        done = subprocess.run(
            [HEATLENS, "explain", "-", "-o", tmp_path], stdin=file, capture_output=True, check=False, timeout=120
        )

    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["stdin.heatmap.png"]


def test_classes_are_predicted_without_heatmaps(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("no image")
    shutil.copy(JPEG, tmp_path / "scan.jpg")

    table = heatlens("predict", tmp_path, "--top", "2")
    lines = heatlens("predict", tmp_path, "--json", "--top", "2")

    head, row, notice = table.stdout.splitlines()
    assert head.split() == ["file", "prediction", "probability"]
    assert re.fullmatch(rf"{tmp_path / 'scan.jpg'} +OPACITY +0\.\d{{4}}, CLEAR 0\.\d{{4}}", row)
    assert notice == f"notice: {DEMO_NOTICE}"
    broken, scan = map(json.loads, lines.stdout.splitlines())
    assert broken == {"file": str(tmp_path / "broken.png"), "error": broken["error"]}
    assert (scan["prediction"]["label"], [other["label"] for other in scan["others"]]) == ("OPACITY", ["CLEAR"])
    assert table.returncode == lines.returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.png", "scan.jpg"]


def test_a_run_is_also_a_contact_sheet_and_a_report(tmp_path: Path) -> None:
    words = ["--sheet", tmp_path / "sheet.png", "--report", tmp_path / "report.html", "--target", "top-2", "--json"]

    done = heatlens("explain", JPEG, "-o", tmp_path / "out", *words)
    without = heatlens("explain", JPEG, "-o", tmp_path / "other", *words[:2], "--include", "map", "--force")

    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == [str(JPEG)]
    assert (tmp_path / "report.html").read_text().count("<li data-order") == 2
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert without.returncode == 1
    assert json.loads(done.stdout)["quality"] == "ok"
    assert without.stderr == f"include: {tmp_path / 'sheet.png'} shows overlays: add overlay to --include\n"


@pytest.mark.parametrize("option", ["--report", "--sheet"])
def test_neither_report_nor_sheet_replaces_an_image_of_the_run(option: str, tmp_path: Path) -> None:
    names = {"--report": "scan.html", "--sheet": "scan.png"}
    image = tmp_path / names[option]
    shutil.copy(JPEG, image)

    done = heatlens("explain", image, "-o", tmp_path / "out", option, image, "--force")

    assert done.returncode == 1
    assert done.stderr == f"{image} is a file of this run, which is not overwritten: choose another {option}\n"
    assert image.read_bytes() == JPEG.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sheet", "s.jpg"], "sheet: a contact sheet is a PNG: name it s.jpg.png\n"),
        (["--report", "r.txt"], "report: a report is HTML: name it r.txt.html\n"),
    ],
)
def test_the_name_of_a_report_says_what_it_is(words: list[str], message: str, tmp_path: Path) -> None:
    done = heatlens("explain", JPEG, "-o", tmp_path / "out", *words)

    assert (done.returncode, done.stderr) == (1, message)


def test_a_pipe_in_a_folder_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.png")
    shutil.copy(JPEG, tmp_path / "scan.jpg")

    done = heatlens("predict", tmp_path)

    assert done.returncode == 0, done.stderr
    assert "scan.jpg" in done.stdout
    assert "endless" not in done.stdout


def test_failures_of_a_prediction_are_summed_up_where_lines_came_after_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    shutil.copy(JPEG, tmp_path / "b.jpg")

    done = heatlens("predict", tmp_path)

    assert done.returncode == 1
    assert done.stderr.count(str(tmp_path / "a.png")) == 2
    assert "1 of 2 files failed:" in done.stderr


def test_the_demo_is_inspected_by_default() -> None:
    done = heatlens("inspect")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("demo-chest-phantom 1  sha256 ")


def test_help_ends_quietly_where_its_reader_has_left() -> None:
    done = subprocess.run(
        ["bash", "-c", '"$0" --help | true; echo "${PIPESTATUS[0]}"', HEATLENS],
        capture_output=True,
        check=True,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )

    assert done.stdout in ("141\n", "0\n")  # 0: all was written before the reader left
    assert done.stderr == ""
