"""The arrow of imports, read from the sources, and what importing the api door really loads."""

import ast
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

HEAVY = {"torch", "torchvision", "pytorch_grad_cam", "cv2", "matplotlib", "sklearn", "scipy", "nncf"}
CHOSEN = {"onnx", "onnxruntime"}  # by a setting, or while compiling
DOORS = {"functions", "heatlens_web", "heatlens_cli"}
LAYERS = {"heatlens_torch", "heatlens_aws"}
FORBIDDEN = {
    "layers/heatlens": HEAVY | DOORS | LAYERS | {"boto3", "botocore", "fastapi", "starlette", "mangum", "uvicorn"},
    "layers/heatlens_torch": DOORS | {"heatlens_aws", "boto3", "fastapi", "starlette"},
    "layers/heatlens_aws": DOORS | HEAVY | {"heatlens_torch", "fastapi", "starlette"},
    "layers/heatlens_web": HEAVY | {"boto3", "botocore", "functions", "heatlens_torch", "heatlens_cli"},
    "layers/heatlens_cli": {"functions"},
    "functions/api": HEAVY | {"boto3", "botocore", "heatlens_torch", "heatlens_cli"},
    "functions/batch": HEAVY | {"heatlens_torch", "fastapi", "starlette", "heatlens_web", "heatlens_cli"},
    "functions/endpoint": HEAVY | {"boto3", "botocore", "heatlens_torch", "heatlens_aws", "heatlens_cli"},
}
# Modules in the process once the handler is imported and its model loaded. Most are the web framework's and the
# engine's; a jump means that something heavy crept in.
MODULE_BUDGET = 1200


def imported(source: Path) -> set[str]:
    """Dotted names a file imports, anywhere in it, and each name's parents."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {".".join(parts[:n]) for name in names for parts in [name.split(".")] for n in range(1, len(parts) + 1)}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_import_goes_against_the_arrow(package: str) -> None:
    sources = list((ROOT / package).rglob("*.py"))

    against = {str(source.relative_to(ROOT)): imported(source) & FORBIDDEN[package] for source in sources}

    assert sources
    assert {source: names for source, names in against.items() if names} == {}


def test_the_check_sees_an_import_wherever_it_stands(tmp_path: Path) -> None:
    source = tmp_path / "a.py"
    source.write_text("def f():\n    if True:\n        from torch.nn import functional\n")

    assert "torch" in imported(source)


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True).stdout


def test_the_api_door_loads_nothing_heavy_and_not_too_much() -> None:
    loaded = set(json.loads(run("import functions.api.handler, json, sys; print(json.dumps(list(sys.modules)))")))

    assert {name.partition(".")[0] for name in loaded} & (HEAVY | CHOSEN | {"boto3", "onnx", "pydicom"}) == set()
    assert len(loaded) < MODULE_BUDGET


@pytest.mark.parametrize("door", ["functions.api.handler", "functions.endpoint.serve"])
def test_a_door_without_staging_loads_no_client_of_aws(door: str) -> None:
    loaded = set(json.loads(run(f"import {door}, json, sys; print(json.dumps(list(sys.modules)))")))

    assert door in loaded
    assert {name.partition(".")[0] for name in loaded} & (HEAVY | CHOSEN | {"boto3", "botocore"}) == set()


def test_one_file_of_the_core_imports_onnx_runtime_and_nothing_imports_that_file() -> None:
    folders = ("layers/heatlens", "layers/heatlens_web", "functions")
    sources = [source for folder in folders for source in (ROOT / folder).rglob("*.py")]

    importers = [source.name for source in sources if imported(source) & CHOSEN]
    above = [source.name for source in sources if "heatlens.engines.onnx_runtime" in imported(source)]

    assert (importers, above) == (["onnx_runtime.py"], [])


def test_only_a_dicom_file_brings_in_what_reads_it() -> None:
    program = (
        "import sys; from heatlens.input.decode import decode; from tests.support.images import encoded, noise; "
        "decode(encoded(noise((4, 4))), max_pixels=99); print('pydicom' in sys.modules); "
        "import numpy; from tests.support.dicom import dicom; "
        "decode(dicom(numpy.zeros((4, 4), 'u1')), max_pixels=99); print('heatlens.input.dicom' in sys.modules)"
    )

    assert run(program).split() == ["False", "True"]


def cpu_seconds(program: str) -> float:
    """Least processor time of three runs: what the work costs, whoever else is busy."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(program)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(3))


def test_the_api_door_imports_in_little_more_than_its_libraries_need() -> None:
    libraries = cpu_seconds("import fastapi, mangum, openvino, isal, PIL.Image, pydantic_settings, fastapi.staticfiles")
    door = cpu_seconds("import heatlens_web.app")

    assert door < 1.5 * libraries
