"""The wheel, as it is built, and as a user installs it outside the checkout."""

import email.message
import email.parser
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import uv

from heatlens_cli.events.http_events import HttpRequest, heatmap_request
from tests.contract.clients import http_client
from tests.support.paths import ROOT, SAMPLES

PACKAGES = {"heatlens", "heatlens_aws", "heatlens_cli", "heatlens_torch", "heatlens_web"}
EXTRAS = {
    "server",
    "aws",
    "client",
    "dicom",
    "pacs",
    "heic",
    "torch",
    "hf",
    "timm",
    "onnx",
    "onnxruntime",
    "int8",
    "all",
    "dev",
    "bench",
}
DESCRIPTION = """
name = "trial"
version = "1"
architecture = "torchvision:resnet18"
weights = "seed:0"
classes = ["a", "b"]
output = "softmax"
preprocess = { resize = [64, 64], mean = [0.5, 0.5, 0.5], std = [0.2, 0.2, 0.2] }
"""
JPEG = SAMPLES / "phantom-03-opacity.jpg"
UNREACHABLE = ("Failed to fetch", "Network connectivity is disabled", "error sending request", "not found in the cache")


def run_uv(*words: object) -> None:
    """Run uv, or skip the test where no package index answers."""
    done = subprocess.run([uv.find_uv_bin(), *map(str, words)], capture_output=True, check=False, text=True)
    if done.returncode and any(sign in done.stderr for sign in UNREACHABLE):
        pytest.skip(f"no package index answers: {' '.join(done.stderr.split())[:200]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run_uv("build", "--quiet", "--wheel", "--out-dir", folder, ROOT)
    [built] = folder.glob("*.whl")
    return built


def environment_with(wheel: Path, folder: Path, extra: str = "") -> Path:
    """Install the wheel in an environment of its own, and return the folder of its commands."""
    run_uv("venv", "--quiet", "--python", sys.executable, folder)
    bin_folder = folder / "bin"
    requirement = f"heatlens{extra} @ {wheel.as_uri()}"
    constraints = ROOT / "infra" / "constraints.txt"
    run_uv("pip", "install", "--quiet", "--python", bin_folder / "python", "-c", constraints, requirement)
    return bin_folder


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment_with(wheel, tmp_path_factory.mktemp("base") / "venv")


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment_with(wheel, tmp_path_factory.mktemp("server") / "venv", "[server]")


@pytest.fixture
def with_own_functions(tmp_path: Path) -> Path:
    """A folder of a user who has a package `functions`, as every SAM project does."""
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "__init__.py").write_text("raise RuntimeError('imported by heatlens')\n")
    return tmp_path


def clean_environment(**variables: object) -> dict[str, str]:
    """The environment without what leads to the checkout or configures Heatlens."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEATLENS_", "PYTHON"))}
    return kept | {name: str(value) for name, value in variables.items()}


def call(command: Path, *words: object, cwd: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command, *map(str, words)],
        cwd=cwd,
        env=clean_environment(**variables),
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.parser.Parser().parsestr(archive.read(name).decode())


def test_the_wheel_has_every_file_of_the_five_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        info = {name.partition(".dist-info/")[2] for name in archive.namelist()} - {""}
    layers = ROOT / "layers"
    files = {
        path.relative_to(layers) for package in PACKAGES for path in (layers / package).rglob("*") if path.is_file()
    }

    assert {name.partition("/")[0] for name in names} == PACKAGES
    assert names == {file.as_posix() for file in files if "__pycache__" not in file.parts}
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert {f"heatlens/models/demo/{name}" for name in ("card.json", "trunk.onnx", "tail.onnx")} <= names
    assert {"heatlens/render/colormaps/viridis.rgb", "heatlens_web/static/index.html"} <= names
    assert f"heatlens_web/static/samples/{JPEG.name}" in names
    assert "licenses/LICENSE" in info


def test_the_metadata_name_the_license_and_the_extras(wheel: Path) -> None:
    facts = metadata(wheel)

    assert (facts["License-Expression"], facts["License-File"]) == ("Apache-2.0", "LICENSE")
    assert facts["Author"] == "The Heatlens authors"
    assert set(facts.get_all("Provides-Extra", [])) == EXTRAS


def test_the_base_install_has_no_web_framework_and_no_aws_library(wheel: Path) -> None:
    requirements = metadata(wheel).get_all("Requires-Dist", [])
    names = {re.split(r"[^a-z0-9-]", each)[0] for each in requirements if "extra ==" not in each}

    assert {"numpy", "openvino", "pillow", "typer"} <= names
    assert names & {"boto3", "fastapi", "mangum", "python-multipart", "starlette", "torch", "uvicorn"} == set()


def test_the_base_install_explains_an_image(base: Path, tmp_path: Path) -> None:
    done = call(base / "heatlens", "explain", JPEG, "-o", "out", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "phantom-03-opacity.jpg.heatmap.png").read_bytes().startswith(b"\x89PNG")


def test_the_base_install_imports_nothing_of_the_checkout(base: Path, tmp_path: Path) -> None:
    program = "import heatlens, heatlens_cli.main as main, sys; print(heatlens.__file__, main.__file__, *sys.path)"

    done = call(base / "python", "-c", program, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("site-packages") >= 2
    assert str(ROOT) not in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ("compile --help", 0, "Compile a PyTorch classifier"),
        ("verify manifest.json", 1, "manifest.json: No such file or directory\n"),
        ("serve --port 0", 1, "serve needs the extra server (fastapi is missing): pip install 'heatlens[server]'\n"),
        ("compile model.toml -o out", 1, "pip install 'heatlens[torch]'\n"),
        ("compile none.toml -o out", 1, "none.toml: no such readable file\n"),
        ("redrive --dead-letters https://queue", 1, "pip install 'heatlens[aws]'\n"),
    ],
)
def test_the_base_install_says_what_it_lacks(
    words: str, status: int, sentence: str, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.toml").write_text(DESCRIPTION)

    done = call(base / "heatlens", *words.split(), cwd=tmp_path)

    assert done.returncode == status
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_users_own_package_functions_is_never_imported(server: Path, with_own_functions: Path) -> None:
    for command in ("explain", "dev invoke"):
        done = call(
            server / "heatlens",
            *command.split(),
            JPEG,
            "-o",
            command,
            cwd=with_own_functions,
            PYTHONPATH=with_own_functions,
        )
        assert (done.returncode, done.stderr) == (0, "")

    pictures = [
        (with_own_functions / command / "phantom-03-opacity.jpg.heatmap.png").read_bytes()
        for command in ("explain", "dev invoke")
    ]
    assert pictures[0] == pictures[1]


def test_the_extra_server_serves_a_request_beside_a_users_own_package_functions(
    server: Path, with_own_functions: Path
) -> None:
    process = subprocess.Popen(
        [server / "heatlens", "serve", "--port", "0"],
        cwd=with_own_functions,
        env=clean_environment(PYTHONPATH=with_own_functions),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[2].rpartition(":")[2])
        send = http_client(port)
        explained = send(heatmap_request(JPEG.name, JPEG.read_bytes()))
        page = send(HttpRequest("/", method="GET"))
    finally:
        process.terminate()
        process.communicate(timeout=30)

    assert json.loads(explained.body)["prediction"]["label"] == "OPACITY"
    assert b"<html" in page.body
