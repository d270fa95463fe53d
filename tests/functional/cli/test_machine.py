"""`doctor`, `bench`, `cost` and `completion`, run as processes."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from heatlens.card import read_card
from heatlens.settings import DEMO_MODEL
from heatlens_cli import price
from tests.support.paths import HEATLENS, SAMPLES

JPEG = SAMPLES / "phantom-03-opacity.jpg"


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


def test_cost_says_what_it_assumes() -> None:
    done = heatlens("cost", "--seconds", "0.2", "--memory", "1769", "--instance-hour", "3.6")

    assert done.returncode == 0, done.stderr
    assert "1769 MiB (1.0 processors)" in done.stdout
    assert "Assumes that Lambda's processors are as fast as these" in done.stdout
    [taken] = re.findall(r"one heatmap   ([\d.]+) s", done.stdout)
    [instance] = re.findall(r"instance      \$([\d.]+) for 1,000", done.stdout)
    assert float(instance) == pytest.approx(float(taken), abs=2e-3)  # $3.6 an hour is $0.001 a second


def test_lambda_bills_milliseconds_that_have_begun() -> None:
    prices = price.Prices(gb_second=1.0, request=0.5)

    assert price.lambda_price(0.0101, 1024, prices) == pytest.approx(1000 * (0.011 + 0.5))
    assert price.lambda_price(0.010, 2048, prices) == pytest.approx(1000 * (0.020 + 0.5))


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


@pytest.mark.parametrize("price", ["-1", "nan", "inf"])
def test_a_price_is_a_number_from_zero(price: str) -> None:
    done = heatlens("cost", "--gb-second", price)

    assert done.returncode == 2
    assert "a price is a number from 0" in done.stderr
