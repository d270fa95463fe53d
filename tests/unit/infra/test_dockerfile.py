"""The folders that the Dockerfile copies are all that the functions and the endpoint need of the sources."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from heatlens_cli.events.http_events import Event, HttpRequest, http_api_v2
from tests.support.paths import ROOT

DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text(encoding="utf-8")
MODULES = [
    "functions.api.handler",
    "functions.batch.handler",
    "functions.batch.sweeper",
    "functions.endpoint.serve",
    "functions.endpoint.healthcheck",
]
STAGING = {"AWS_DEFAULT_REGION": "us-east-1", "HEATLENS_BUCKET": "bucket", "HEATLENS_TABLE": "table"}
# Only the image's sources are on the path, not those of this checkout.
IMPORT = """
import importlib, json, os, sys
here = os.getcwd()
sys.path[:] = [here] + [folder for folder in sys.path if not os.path.isdir(os.path.join(folder or ".", "heatlens"))]
module = importlib.import_module(sys.argv[1])
assert module.__file__.startswith(here), module.__file__
for event in json.load(sys.stdin):
    print(json.dumps(module.handler(event, None)))
"""


def stage(name: str) -> str:
    """The instructions of one stage, with the defaults of its arguments put in."""
    [text] = re.findall(rf"(?ms)^FROM \S+ AS {name}$(.*?)(?=^FROM |\Z)", DOCKERFILE)
    for argument, default in re.findall(r"(?m)^ARG (\w+)=(\S+)$", text):
        text = text.replace(f"${{{argument}}}", default)
    return str(text)


def copied(name: str) -> dict[str, str]:
    """What a stage copies: the path in the image, and the path that it comes from."""
    lines = re.findall(r"(?m)^COPY (?:--from=code )?(?!--)(\S+) (\S+)$", stage(name))
    return {f"{to}{Path(source).name}" if to.endswith("/") else to: source for source, to in lines}


def image(target: str, folder: Path) -> Path:
    """Copy what a target has of the sources, as the image has it at `/opt`."""
    sources = copied("code")
    for to, source in copied(target).items():
        if source in sources:
            path = ROOT / sources[source]
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, folder / Path(to).relative_to("/opt"))
    for removed in re.findall(r"(?m)^RUN rm -rf (\S+)$", stage("code")):
        shutil.rmtree(folder / Path(removed).relative_to("/opt"))
    return folder


@pytest.fixture(scope="module")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("opt")
    (folder / "heatlens").mkdir()
    return image("cpu", folder)


def run(folder: Path, module: str, events: Sequence[Event] = ()) -> list[Event]:
    """Import a module from the image's sources, and send events to its handler."""
    environment = os.environ | {"HEATLENS_MODEL_DIR": str(folder / "model"), "PYTHONPATH": ""}
    environment |= STAGING if module.startswith("functions.batch") else {}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, module],
        cwd=folder / "heatlens",
        env=environment,
        input=json.dumps(events),
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"statusCode"')]


@pytest.mark.parametrize("module", MODULES[1:])
def test_a_module_of_the_image_imports_with_its_copied_folders_alone(cpu: Path, module: str) -> None:
    run(cpu, module)


def test_the_api_function_of_the_image_loads_its_model_and_serves_its_page(cpu: Path) -> None:
    requests = [HttpRequest(path, method="GET") for path in ("/api/inference/ready", "/", "/static/js/app.js")]

    answers = run(cpu, MODULES[0], [http_api_v2(request) for request in requests])

    assert [answer["statusCode"] for answer in answers] == [200, 200, 200]


def test_only_the_cuda_image_holds_the_torch_engine() -> None:
    cpu, cuda = set(copied("cpu")), set(copied("cuda"))

    assert cuda - cpu == {"/opt/heatlens/heatlens_torch"}
    assert cpu <= cuda
