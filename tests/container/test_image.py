"""The contents of the image and its configuration."""

import json
import re

import pytest

from tests.container import docker
from tests.container.conftest import Fact
from tests.support.paths import ROOT

LARGEST = 600_000_000  # bytes, uncompressed
STRIPPED = {"openvino-telemetry"}
FILES = """
import hashlib, json, os, stat
found = {}
for top in ("/opt/venv", "/opt/heatlens", "/opt/model"):
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            about = os.lstat(path)
            if stat.S_ISREG(about.st_mode):
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                found[path] = [digest, about.st_mode & 0o777, about.st_mtime]
print(json.dumps(found))
"""
Files = dict[str, tuple[str, int, float]]


def files(image: str) -> Files:
    """Digest, mode and time of every file that this project copied."""
    text = docker.docker("run", "--rm", "--user", "0", "--entrypoint", "/opt/venv/bin/python", image, "-c", FILES)
    by_path: Files = json.loads(text)
    return by_path


@pytest.fixture(scope="module")
def content(image: str) -> Files:
    return files(image)


def test_the_image_is_at_most_600_mb(image: str, fact: Fact) -> None:
    size = docker.config(image)["Size"]

    fact(f"cpu image: {size / 1e6:.0f} MB uncompressed")
    assert size <= LARGEST


def test_the_image_holds_no_pytorch_no_tests_and_no_installer(content: Files) -> None:
    packages = {path.split("/site-packages/")[1].split("/")[0] for path in content if "/site-packages/" in path}

    assert "openvino" in packages
    assert packages & {"torch", "torchvision", "heatlens_torch", "pip", "setuptools", "pytest", "moto"} == set()
    assert not any("/pydicom/data/test_files/" in path or "/tests/" in path for path in content)
    assert not any(path.startswith("/opt/heatlens/heatlens_torch") for path in content)


def test_every_file_is_world_readable(content: Files) -> None:
    assert [path for path, (_, mode, _) in content.items() if not mode & 0o004] == []


def test_every_module_is_compiled(content: Files) -> None:
    compiled = {re.sub(r"/__pycache__/(.*)\.cpython-\d+\.pyc$", r"/\1.py", path) for path in content if ".pyc" in path}
    modules = {path for path in content if path.endswith(".py") and path.startswith(("/opt/heatlens", "/opt/venv/lib"))}

    assert len(modules) > 1000
    assert modules - compiled == set()


def test_importing_the_handlers_compiles_nothing(image: str) -> None:
    """This includes Python's own modules, which a base image may contain as sources only."""
    program = (
        "import sys, os\n"
        "import functions.api.handler, functions.endpoint.app\n"
        "files = [m.__spec__ for m in sys.modules.values() if getattr(m, '__spec__', None)]\n"
        "print([s.origin for s in files if s.cached and s.has_location and not os.path.exists(s.cached)])"
    )

    text = docker.docker("run", "--rm", "--entrypoint", "/opt/venv/bin/python", image, "-c", program)

    assert text.strip().splitlines()[-1] == "[]"


def test_the_same_sources_make_the_same_files(content: Files) -> None:
    again = docker.build("heatlens:test-again", cached=False)

    assert files(again) == content


def test_the_image_has_entrypoint_command_and_health_check(image: str) -> None:
    described = docker.config(image)["Config"]

    assert described["Entrypoint"] == ["/opt/heatlens/entrypoint.sh"]
    assert described["Cmd"] == ["functions.api.handler.handler"]
    assert "functions.endpoint.healthcheck" in described["Healthcheck"]["Test"][-1]
    assert "HOME=/tmp" in described["Env"]


@pytest.mark.parametrize("word", ["serve", "functions.api.handler.handler"])
def test_the_process_drops_root(image: str, word: str) -> None:
    """SageMaker and SAM's emulator start the container as root."""
    with docker.container(image, "-e", "AWS_LAMBDA_RUNTIME_API=127.0.0.1:1", command=[word]) as made:
        status = made.python("import time; time.sleep(0.5); print(open('/proc/1/status').read())")

    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["Name"] == "python"
    assert set(facts["Uid"].split()) == {"993"}
    assert set(facts["Gid"].split()) == {"990"}
    assert facts["Groups"].strip() == ""
    assert int(facts["CapEff"], 16) == 0
    assert facts["NoNewPrivs"] == "1"


def test_the_bill_of_materials_lists_the_pinned_packages(image: str) -> None:
    text = docker.docker("run", "--rm", "--entrypoint", "cat", image, "/opt/venv/sbom.json")
    listed = {(_normal(each["name"]), each["version"]) for each in json.loads(text)["components"]}

    pins = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "infra" / "image" / "cpu.txt").read_text(), re.MULTILINE)
    assert listed == {(_normal(name), version) for name, version in pins if name not in STRIPPED}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
