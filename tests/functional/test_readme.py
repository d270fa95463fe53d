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

from tests.support.dicom_studies import radiograph
from tests.support.dicom_tools import parsed
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
    [commands] = [text for text in BLOCKS if text.startswith((f"{begins} ", f"{begins}\n"))]
    return str(commands)


def shell(script: str) -> None:
    subprocess.run(["sh", "-euc", script], cwd=ROOT, check=True, env=environment())


def environment() -> dict[str, str]:
    """Return the environment without the variables that `make test` sets for its children."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def test_every_command_of_the_readme_is_run() -> None:
    assert [text.split()[0:2] for text in BLOCKS] == [
        ["make", "run"],
        ["make", "test"],  # runs this test
        ["curl", "--silent"],
        [".venv/bin/heatlens", "compile"],
        ["make", "run-batch"],
        ["make", "base-image"],  # in tests/unit/infra, against a registry in memory
        ["make", "invoke"],  # in tests/container
    ]


@needs_project_venv
def test_make_run_draws_the_samples_and_serves() -> None:
    for old in (ROOT / "out").glob("*.heatmap.png"):
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
    assert [Path(line.split()[0]).name for line in lines if "phantom-" in line] == names
    made = sorted(path.name for path in (ROOT / "out").glob("*.heatmap.png"))
    assert made == [f"{name}.heatmap.png" for name in names]
    assert lines[-1].startswith("Heatlens serves")


@needs_project_venv
def test_make_run_batch_fetches_a_heatmap_of_every_sample() -> None:
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


def run_block(content: str, url: str, folder: Path) -> None:
    """Run the block with `content` of the pages in functions/ against a server; responses are written to `folder`."""
    [commands] = [text for text in FUNCTION_BLOCKS if content in text]
    shell(commands.replace("http://127.0.0.1:8000", url).replace("out/", f"{folder}/"))


def test_every_command_of_the_function_pages_is_run() -> None:
    requests = [text for text in FUNCTION_BLOCKS if "curl" in text]
    assert len(requests) == 5
    [server] = [text for text in FUNCTION_BLOCKS if "curl" not in text]
    assert "heatlens serve" in server  # with API keys, see tests/functional/reports/test_exposed_servers.py
    commands = [line for text in requests for line in text.splitlines() if "curl" in line]
    assert all("--fail" in line for line in commands)


@pytest.mark.contract("uvicorn")
def test_the_examples_of_the_http_api(server_port: int, tmp_path: Path) -> None:
    run_block("$api/predict", f"http://127.0.0.1:{server_port}", tmp_path)

    responses = {path.stem: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert [explained["label"] for explained in responses["two"]["explanations"]] == ["OPACITY", "CLEAR"]
    assert responses["two"]["model"]["method"] == "gradcam++"
    assert responses["regions"]["regions"]["threshold"] == 0.6
    assert [item["success"] for item in responses["batch"]["results"]] == [True, False]
    assert responses["scores"]["prediction"]["label"] == "OPACITY"
    assert responses["models"]["models"][0]["name"] == "demo"
    assert responses["json"]["heatmap_base64"]


def test_the_examples_of_dicom_objects(server_port: int, tmp_path: Path) -> None:
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(radiograph())
    [commands] = [text for text in FUNCTION_BLOCKS if "capture.dcm" in text]
    script = commands.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{server_port}").replace("scan.dcm", str(scan))

    shell(script.replace("out/", f"{tmp_path}/"))

    assert parsed((tmp_path / "capture.dcm").read_bytes()).Modality == "OT"
    objects = json.loads((tmp_path / "objects.json").read_text())["dicom"]
    assert [each["kind"] for each in objects] == ["sc", "seg", "sr"]


def test_the_kserve_example(server_port: int, tmp_path: Path) -> None:
    run_block("instances", f"http://127.0.0.1:{server_port}", tmp_path)

    assert json.loads((tmp_path / "kserve.json").read_text())["predictions"][0]["label"] == "OPACITY"


def test_the_example_of_the_open_inference_protocol(server_port: int, tmp_path: Path) -> None:
    run_block("BYTES", f"http://127.0.0.1:{server_port}", tmp_path)

    outputs = {output["name"]: output for output in json.loads((tmp_path / "tensors.json").read_text())["outputs"]}
    assert outputs["label"]["data"] == ["OPACITY"]
    assert len(outputs["saliency_map"]["data"]) == 20 * 20


def test_the_staged_batch_example(loop: Loop, tmp_path: Path) -> None:
    run_block("expected_files", loop.url, tmp_path)

    assert json.loads((tmp_path / "status.json").read_text())["declared_files"] == 1
    [result] = json.loads((tmp_path / "results.json").read_text())["results"]
    assert (result["name"], result["state"], result["label"]) == ("scan.jpg", "OK", "OPACITY")


@needs_project_venv
def test_the_readme_compiles_a_model_and_uses_it(tmp_path: Path) -> None:
    shell(block(".venv/bin/heatlens").replace("out/", f"{tmp_path}/"))

    assert (tmp_path / "model" / "card.json").is_file()
    assert (tmp_path / "own" / "phantom-01-opacity.png.heatmap.png").read_bytes().startswith(b"\x89PNG")
