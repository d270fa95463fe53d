"""`doctor`, `bench`, `cost` and `completion`, run as processes."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from heatlens.card import read_card
from heatlens.settings import DEMO_MODEL
from tests.support.paths import HEATLENS, ROOT, SAMPLES

JPEG = SAMPLES / "phantom-03-opacity.jpg"
SERVICE = ROOT / "tests" / "benchmarks" / "service.json"


def heatlens(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HEATLENS, *map(str, words)], capture_output=True, check=False, text=True, timeout=120, env=os.environ | env
    )


def test_doctor_reports_machine_engine_and_a_timed_explanation() -> None:
    done = heatlens("doctor")

    assert done.returncode == 0, done.stderr
    rows = dict(line[9:].split("  ", 1) for line in done.stdout.splitlines())
    assert rows["model"].split()[-1] == read_card(DEMO_MODEL)[1]
    assert "golden explanation passed" in rows["engine"]
    assert re.search(r"[\d.]+ ms, median of \d+", rows["explanation"])
    assert {"heatlens", "processor", "memory", "GPU", "libraries", "extra torch"} <= set(rows)


def test_doctor_fails_where_no_model_can_be_loaded(tmp_path: Path) -> None:
    done = heatlens("doctor", "--model", tmp_path / "nowhere")

    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1
    assert str(tmp_path / "nowhere") in failed[0]


def test_doctor_names_the_engine_of_the_settings() -> None:
    done = heatlens("doctor", HEATLENS_ENGINE="onnxruntime")

    assert done.returncode == 0, done.stderr
    assert "onnxruntime in f32" in done.stdout


def test_bench_measures_the_given_images() -> None:
    done = heatlens("bench", JPEG, "--seconds", "0.2")

    assert done.returncode == 0, done.stderr
    assert f"images      {JPEG.name}" in done.stdout
    assert re.search(
        r"^total       p50 [\d.]+, p90 [\d.]+, p95 [\d.]+, p99 [\d.]+ ms, [\d.]+ images/s$", done.stdout, re.M
    )
    assert re.search(r"^encode      p50 [\d.]+ ms$", done.stdout, re.M)


def test_cost_measures_and_prices(tmp_path: Path) -> None:
    measured = heatlens("cost", JPEG, "--seconds", "0.2", "--json")

    assert measured.returncode == 0, measured.stderr
    assert measured.stderr == ""
    found = json.loads(measured.stdout)
    figures = found["figures"]
    assert figures["upload_bytes"] == JPEG.stat().st_size
    assert figures["answer_bytes"]["png"] > 4 / 3 * (figures["picture_bytes"]["png"] + figures["upload_bytes"])
    assert figures["picture_bytes"]["png"] > 2 * figures["picture_bytes"]["jpeg"] > 0
    assert figures["request"]["processor_seconds"] > 0.001

    (tmp_path / "cost.json").write_text(measured.stdout)
    printed = heatlens("cost", "--figures", tmp_path / "cost.json", "--memory", "2000", "--plain", SERVICE)

    assert printed.returncode == 0, printed.stderr
    assert f"image           {JPEG.name}, {JPEG.stat().st_size / 1000:.1f} kB" in printed.stdout
    assert re.search(r"^    2000   1\.1 +~?\d+\.\d+ +\d+\.\d{4} +\d+\.\d{4} +", printed.stdout, re.MULTILINE)
    assert "* The plain service's compute and requests" in printed.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--region", "mars-1"], "no prices for the region 'mars-1'"),
        (["--instance", "ml.none"], "no price for the instance type 'ml.none'"),
        (["--prices", "nowhere.toml"], "nowhere.toml: No such file"),
        (["--plain", "pyproject.toml"], "pyproject.toml is no JSON"),
    ],
)
def test_cost_refuses_wrong_arguments_before_it_measures(words: list[str], message: str) -> None:
    done = heatlens("cost", "no-image", *words)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert message in done.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands() -> None:
    script = heatlens("completion", "bash")

    assert script.returncode == 0, script.stderr
    program = (
        f"{script.stdout}\nCOMP_WORDS=(heatlens expl) COMP_CWORD=1\n_heatlens_completion heatlens\necho $COMPREPLY"
    )
    path = f"{Path(HEATLENS).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", program],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        env=os.environ | {"PATH": path},
    )
    assert done.stdout.split() == ["explain"], done.stderr


def test_bench_names_the_image_that_cannot_be_explained(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("no image")

    done = heatlens("bench", tmp_path / "broken.png")

    assert done.returncode == 1
    assert done.stderr.startswith("broken.png: ")
