"""Which commands run with the base install alone, and what the others say without their extra."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heatlens.settings import DEMO_MODEL
from heatlens_cli.extras import EXTRA_MODULES
from tests.support.paths import ROOT, SAMPLES

JPEG = str(SAMPLES / "phantom-03-opacity.jpg")
DICOM = str(ROOT / "tests" / "contract" / "conformance" / "window.dcm")
MODULES = EXTRA_MODULES | {"dicom": {"pydicom", "pylibjpeg", "openjpeg"}, "int8": {"nncf", "onnxruntime"}}
EVERY_EXTRA = {name for names in MODULES.values() for name in names}


def heatlens(words: list[str], missing: set[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process in which some modules cannot be imported."""
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({sorted(missing)!r})); "
        f"from heatlens_cli.main import app; app({words!r})"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "layers"), str(ROOT)])} | variables
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, check=False, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("extra", "words", "command"),
    [
        ("server", ["serve", "--port", "0"], "serve"),
        ("server", ["dev", "invoke", JPEG], "invoke"),
        ("torch", ["compile", "torchvision:alexnet", "-o", "out"], "compile"),
        ("torch", ["inspect", "torchvision:alexnet"], "inspect of a model description"),
        ("aws", ["redrive", "--dead-letters", "https://queue"], "redrive"),
        ("aws", ["verify", "s3://bucket/out/batch/manifest.json"], "verify of an s3:// address"),
        ("aws", ["batch", "run", "s3://bucket/scans"], "batch run of an s3:// address"),
        ("pacs", ["dicom", "watch", "pacs.toml"], "dicom watch"),
        ("pacs", ["dicom", "status", "pacs.toml"], "dicom status"),
        ("pacs", ["dicom", "retry", "pacs.toml"], "dicom retry"),
    ],
)
def test_a_command_names_the_extra_that_it_lacks(extra: str, words: list[str], command: str, tmp_path: Path) -> None:
    done = heatlens(words, MODULES[extra], tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{command} needs the extra {extra} (")
    assert done.stderr.endswith(f" is missing): pip install 'heatlens[{extra}]'\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "command"), [(["serve", "--port", "0"], "serve"), (["dev", "invoke", JPEG], "invoke")]
)
def test_a_server_with_a_bucket_names_the_extra_aws(words: list[str], command: str, tmp_path: Path) -> None:
    done = heatlens(words, MODULES["aws"], tmp_path, HEATLENS_BUCKET="bucket")

    assert done.returncode == 1
    assert done.stderr.startswith(f"{command} with HEATLENS_BUCKET set needs the extra aws (")
    assert done.stderr.count("\n") == 1


def test_a_dicom_file_names_the_extra_dicom_and_the_other_files_are_explained(tmp_path: Path) -> None:
    done = heatlens(["explain", DICOM, JPEG, "-o", "out"], MODULES["dicom"], tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith(f"{DICOM}: DICOM files need the extra dicom")
    assert done.stderr.endswith("pip install 'heatlens[dicom]'\n")
    assert "1 of 2 files failed:" in done.stderr.splitlines()
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["phantom-03-opacity.jpg.heatmap.png"]


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["explain", JPEG, "-o", "out"],
        ["dev", "event", JPEG],
        ["inspect", str(DEMO_MODEL)],
        ["init-model"],
        *(
            [command, "--help"]
            for command in ("serve", "dev", "compile", "verify", "redrive", "batch", "predict", "cost")
        ),
        ["doctor"],
        ["predict", JPEG],
        ["bench", JPEG, "--seconds", "0.1"],
    ],
    ids=" ".join,
)
def test_the_base_install_is_enough(words: list[str], tmp_path: Path) -> None:
    done = heatlens(words, EVERY_EXTRA, tmp_path)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["verify", "manifest.json"], "manifest.json: No such file or directory"),
        (["batch", "run", str(SAMPLES), "--url", "ftp://nowhere"], "ftp://nowhere is not a URL of a server"),
    ],
    ids=["verify of a file", "batch run of a folder"],
)
def test_the_base_install_reports_other_errors_in_one_line(words: list[str], sentence: str, tmp_path: Path) -> None:
    done = heatlens(words, EVERY_EXTRA, tmp_path)

    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
