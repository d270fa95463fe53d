"""Run the commands and programs of the README and of the pages in functions/ and layers/ as they are printed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.loop import Loop
from tests.support.paths import ROOT, SAMPLES


def code_blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


BLOCKS = code_blocks("README.md", "sh") + code_blocks("infra/image.md", "sh")
IN_PROJECT_VENV = Path(sys.prefix) == ROOT / ".venv"
needs_project_venv = pytest.mark.skipif(
    not IN_PROJECT_VENV, reason="these commands use .venv: run the tests by make test"
)


def block(begins: str) -> str:
    [found] = [each for each in BLOCKS if each.startswith((f"{begins} ", f"{begins}\n"))]
    return str(found)


def shell(script: str) -> None:
    subprocess.run(["sh", "-euc", script], cwd=ROOT, check=True, env=environment())


def environment() -> dict[str, str]:
    """Without what the make that runs the tests tells its children."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def test_every_block_is_run_here() -> None:
    assert [each.split()[0:2] for each in BLOCKS] == [
        ["make", "run"],
        ["make", "test"],  # what runs this
        ["curl", "--silent"],
        [".venv/bin/heatlens", "compile"],
        ["make", "run-batch"],
        ["make", "invoke"],  # in tests/container
    ]


@needs_project_venv
def test_make_run_draws_the_samples_and_serves() -> None:
    for old in (ROOT / "out").glob("phantom-*.png"):
        old.unlink()
    words = [*block("make run").split(), "PORT=0"]
    run = subprocess.Popen(
        words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert run.stdout is not None
    lines = []
    try:
        for line in run.stdout:
            lines.append(line)
            if line.startswith("Heatlens serves http://127.0.0.1:"):
                break
    finally:
        os.killpg(run.pid, signal.SIGINT)
        run.communicate(timeout=30)

    names = [path.name for path in sorted(SAMPLES.iterdir()) if path.suffix != ".json"]
    assert [line.split()[0] for line in lines if line.startswith("phantom-")] == names
    assert sorted(path.stem for path in (ROOT / "out").glob("phantom-*.png")) == [Path(name).stem for name in names]
    assert lines[-1].startswith("Heatlens serves")


@needs_project_venv
def test_make_run_batch_brings_every_sample_back() -> None:
    shutil.rmtree(ROOT / "out" / "batch", ignore_errors=True)

    shell(block("make run-batch"))

    made = [path.name.removesuffix(".heatmap.png") for path in (ROOT / "out" / "batch").glob("*.heatmap.png")]
    assert sorted(made) == [path.name for path in sorted(SAMPLES.iterdir()) if path.suffix != ".json"]


def test_the_curl_examples(server_port: int, tmp_path: Path) -> None:
    shell(block("curl").replace("127.0.0.1:8000", f"127.0.0.1:{server_port}").replace("out/", f"{tmp_path}/"))

    assert (tmp_path / "answer.json").read_bytes().startswith(b'{"')
    assert (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")


def test_the_python_example_prints_the_prediction_and_writes_the_heatmap(tmp_path: Path) -> None:
    [program] = code_blocks("README.md", "python")

    assert run_python(program.replace('"heatmap.png"', f'"{tmp_path}/heatmap.png"')) == "OPACITY 0.95 ok\n"
    assert (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")


def test_the_python_example_of_several_targets() -> None:
    [program] = code_blocks("layers/explanations.md", "python")

    printed = run_python(program)

    assert re.fullmatch(r"\[\('OPACITY', 'ok'\), \('CLEAR', '(ok|weak|empty)'\)\]\n", printed)


def run_python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True)
    return done.stdout


FUNCTION_PAGES = [f"functions/{page.name}" for page in sorted((ROOT / "functions").glob("*.md"))]
FUNCTION_BLOCKS = [text for page in FUNCTION_PAGES for text in code_blocks(page, "sh")]


def asked(begins: str, url: str, folder: Path) -> None:
    """Run a block of the pages in functions/ against a server, its responses going to `folder`."""
    [found] = [each for each in FUNCTION_BLOCKS if begins in each]
    shell(found.replace("http://127.0.0.1:8000", url).replace("out/", f"{folder}/"))


def test_every_block_of_the_doors_is_run_here() -> None:
    assert len(FUNCTION_BLOCKS) == 3
    assert all("curl" in each for each in FUNCTION_BLOCKS)
    commands = [line for each in FUNCTION_BLOCKS for line in each.splitlines() if "curl" in line]
    assert all("--fail" in line for line in commands)


@pytest.mark.contract("uvicorn")
def test_the_examples_of_the_doors(server_port: int, tmp_path: Path) -> None:
    asked("$api/predict", f"http://127.0.0.1:{server_port}", tmp_path)

    answers = {path.stem: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert [each["label"] for each in answers["two"]["explanations"]] == ["OPACITY", "CLEAR"]
    assert answers["two"]["model"]["method"] == "gradcam++"
    assert answers["regions"]["regions"]["threshold"] == 0.6
    assert [each["success"] for each in answers["batch"]["results"]] == [True, False]
    assert answers["scores"]["prediction"]["label"] == "OPACITY"
    assert answers["models"]["models"][0]["name"] == "demo"
    assert answers["json"]["heatmap_base64"]


def test_the_example_of_kserves_protocol(server_port: int, tmp_path: Path) -> None:
    asked("instances", f"http://127.0.0.1:{server_port}", tmp_path)

    assert json.loads((tmp_path / "kserve.json").read_text())["predictions"][0]["label"] == "OPACITY"


def test_the_example_of_a_staged_batch(loop: Loop, tmp_path: Path) -> None:
    asked("expected_files", loop.url, tmp_path)

    assert json.loads((tmp_path / "status.json").read_text())["declared_files"] == 1
    [result] = json.loads((tmp_path / "results.json").read_text())["results"]
    assert (result["name"], result["state"], result["label"]) == ("scan.jpg", "OK", "OPACITY")


@needs_project_venv
def test_compiling_and_using_the_result(tmp_path: Path) -> None:
    script = block(".venv/bin/heatlens").replace("out/model", str(tmp_path / "model"))

    shell(f"{script.rstrip()} --out {tmp_path}/out")

    assert (tmp_path / "model" / "card.json").is_file()
    assert (tmp_path / "out" / "phantom-01-opacity.png").read_bytes().startswith(b"\x89PNG")
