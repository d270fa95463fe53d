"""Run the model descriptions, commands and Python programs of the pages on own models and of layers/python-api.md."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from heatlens.card import read_card
from heatlens_torch.loading import synthetic
from heatlens_torch.loading.network import stack
from heatlens_torch.loading.sources.registry import SOURCES
from heatlens_torch.loading.spec import Description, read_spec
from tests.support.checkpoints import LIGHTNING, renamed
from tests.support.paths import HEATLENS, ROOT, SAMPLES

PAGES = ("own-models.md", "onnx-files.md", "model-toml.md", "preprocessing.md", "proof.md", "python-api.md")
GUIDE = "".join((ROOT / "layers" / name).read_text() for name in PAGES)
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", GUIDE, re.DOTALL)
IN_PROJECT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "layers"), str(ROOT)])}


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


DOWNLOADED, OWN, CHECKPOINT, EVERY_KEY, STEPS, FULL_DEPTH, REFERENCE = blocks("toml")
NETWORK, UNCOMPILED, USE, MOUNT = blocks("python")
TRY, COMPILE = blocks("sh")


def shell(script: str, folder: Path) -> str:
    """Run commands in a folder, with this environment's `heatlens`."""
    text = script.replace("heatlens ", f"{HEATLENS} ")
    done = subprocess.run(
        ["sh", "-euc", text], cwd=folder, env=IN_PROJECT, capture_output=True, check=False, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_spec(folder: Path, text: str) -> Path:
    path = folder / "model.toml"
    path.write_text(text)
    return path


def test_torchvisions_own_weights_need_four_lines(tmp_path: Path) -> None:
    spec = read_spec(write_spec(tmp_path, DOWNLOADED))

    assert (len(spec.classes), spec.output, spec.preprocess.shape) == (1000, "softmax", (224, 224))


def test_values_at_full_depth_are_a_preprocessing(tmp_path: Path) -> None:
    recipe = read_spec(write_spec(tmp_path, FULL_DEPTH)).preprocess

    assert "values" in {step.step for step in recipe.all_steps}


def test_a_list_of_steps_is_a_preprocessing(tmp_path: Path) -> None:
    recipe = read_spec(write_spec(tmp_path, STEPS)).preprocess

    assert [step.step for step in recipe.all_steps] == ["resize", "pad", "scale", "normalize"]
    assert (recipe.shape, recipe.channels) == ((224, 224), 3)


def test_a_reference_is_an_image_and_its_logits(tmp_path: Path) -> None:
    reference = read_spec(write_spec(tmp_path, STEPS + REFERENCE)).reference

    assert reference is not None
    assert (reference.image, reference.logits, reference.tolerance) == ("reference.png", (1.5, -0.25), 0.01)


def test_a_torchvision_network_is_inspected_and_compiled(tmp_path: Path) -> None:
    write_spec(tmp_path, OWN)

    printed = shell(TRY, tmp_path)

    assert re.search(r"^layer +\* layer4 +512 x 4 x 4 ", printed, re.MULTILINE)
    assert "layer4 equals pytorch-grad-cam" in printed
    card = read_card(tmp_path / "resnet18")[0]
    assert (card.layers[0].name, card.source["weights"]) == ("layer4", "seed:0")


def checkpoint(folder: Path) -> None:
    """Save what Lightning would save of a module whose `model` is the guide's network."""
    (folder / "chest.py").write_text(NETWORK)
    spec = importlib.util.spec_from_file_location("chest", folder / "chest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    network = module.build(width=32).eval()
    images = stack(synthetic.images(16, size=(128, 128)), read_spec(folder / "model.toml").preprocess)
    synthetic.settle(network, list(torch.from_numpy(images).chunk(2)))
    content = {"state_dict": renamed(network.state_dict(), "model."), "hyper_parameters": {"width": 32, "lr": 1e-3}}
    torch.save(LIGHTNING | content, folder / "epoch=3.ckpt")


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    write_spec(folder, CHECKPOINT)
    checkpoint(folder)
    shell(COMPILE, folder)
    return folder


def test_a_lightning_checkpoint_is_compiled(chest: Path) -> None:
    card = read_card(chest / "chest")[0]

    assert (card.output, card.classes, card.notice) == ("sigmoid", ("NORMAL", "PNEUMONIA"), "Not for medical use.")
    assert card.source["weights_prefix"] == "model."
    assert card.layers[0].shape == (32, 16, 16)


def test_the_compiled_model_explains_in_python_without_torch(chest: Path) -> None:
    [image] = synthetic.images(1, size=(60, 50), seed=3)
    image.save(chest / "scan.png")

    program = f"import sys\nsys.modules['torch'] = None\n{USE}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=chest, env=IN_PROJECT, capture_output=True, check=True, text=True
    )

    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"(NORMAL|PNEUMONIA) \d\S+ (ok|weak|empty)", first)
    assert second == "(16, 16) (0, 0, 60, 50)"
    assert (chest / "heatmap.png").read_bytes().startswith(b"\x89PNG")


def test_the_api_is_mounted_in_an_own_application() -> None:
    names: dict[str, Any] = {}
    exec(MOUNT, names)
    client = TestClient(names["app"], base_url="http://127.0.0.1")
    sample = (SAMPLES / "phantom-03-opacity.jpg").read_bytes()

    answer = client.post("/heat/api/inference/heatmap", files={"file": sample})

    assert answer.json()["prediction"]["label"] == "OPACITY"
    assert client.get("/heat/").text.startswith("<!doctype html>")
    assert client.get("/heat/static/page.css").status_code == 200
    assert client.get("/heatmap").status_code == 404


def test_a_network_is_explained_without_being_compiled(chest: Path) -> None:
    [image] = synthetic.images(1, size=(60, 50), seed=3)
    image.save(chest / "scan.png")

    done = subprocess.run(
        [sys.executable, "-c", UNCOMPILED], cwd=chest, env=IN_PROJECT, capture_output=True, check=True, text=True
    )

    assert done.stdout.endswith("(1, 16, 16) (1, 128, 128)\n")


def test_a_compiled_folder_is_inspected(chest: Path) -> None:
    printed = shell("heatlens inspect chest", chest)

    assert printed.startswith(f"chest 3  sha256 {read_card(chest / 'chest')[1]}\n")
    for line in (
        r"output +sigmoid: NORMAL, PNEUMONIA",
        r"layer +5 +32 x 16 x 16",
        r"weights_prefix model\.",
        r"torch +not st",
    ):
        assert re.search(f"^{line}", printed, re.MULTILINE), line


def test_a_template_names_the_first_missing_key(tmp_path: Path) -> None:
    printed = shell("heatlens init-model model.toml --architecture chest:build", tmp_path)

    assert printed.startswith("wrote model.toml")
    done = subprocess.run(
        [HEATLENS, "inspect", "model.toml"], cwd=tmp_path, env=IN_PROJECT, capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("model.toml: classes, output, preprocess: missing: say the names")


def test_the_first_commands_of_the_guide_are_commands() -> None:
    lines = [line.partition("#")[0].split() for line in blocks("console")[0].splitlines()]
    compiled = [words[2:] for words in lines if words[1] == "compile"]
    options = {word for words in compiled for word in words if word.startswith("-")}

    help_text = shell("heatlens compile --help", ROOT)
    assert [option for option in options if option not in help_text] == []
    assert {words[0].partition(":")[0] for words in compiled} <= {*SOURCES, "lightning", "runs/vit", "last.pth"}


def test_the_guide_has_every_source() -> None:
    assert [scheme for scheme in SOURCES if f"| `{scheme}:" not in GUIDE] == []


def test_the_guide_shows_every_key() -> None:
    fields = tomllib.loads(EVERY_KEY)

    assert set(fields) == set(Description.model_fields)
    Description.model_validate(fields)
