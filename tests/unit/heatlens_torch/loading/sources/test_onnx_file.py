"""An ONNX file says of itself what its graph and metadata have; the rest is asked for in one sentence."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from heatlens.errors import ModelFileError
from heatlens_torch.loading.described import Described, describe
from heatlens_torch.loading.sources.recognize import recognize
from tests.support.onnx_models import SIDE, edited, export, graph, keras_like, small

PREPROCESS = f"resize=[{SIDE}, {SIDE}], mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25]"
LEVELS = f'steps=[{{step="resize", size=[{SIDE}, {SIDE}]}}]'
NAMES = {"names": "{0: 'cat', 1: 'dog', 2: 'bird'}"}


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(ModelFileError) as caught:
        describe(str(path), options)
    return str(caught.value)


def test_a_file_is_recognized_by_its_bytes(tmp_path: Path) -> None:
    path = export(small(), tmp_path / "a.onnx").rename(tmp_path / "best")

    assert recognize(str(path)) == {"architecture": f"onnx:{path}"}


def test_a_classifier_of_ultralytics_says_everything(tmp_path: Path) -> None:
    path = edited(
        keras_like(tmp_path / "yolo.onnx"), metadata=NAMES | {"task": "classify", "imgsz": f"[{SIDE}, {SIDE}]"}
    )

    found = describe(str(path))

    assert (found.spec.classes, found.spec.output) == (("cat", "dog", "bird"), "softmax")
    assert (found.spec.preprocess.resize, found.spec.preprocess.crop) == (SIDE, (SIDE, SIDE))
    assert found.facts.places["classes"] == "yolo.onnx, metadata names"
    assert found.facts.places["output"] == "the graph ends in a Softmax"
    assert found.spec.name == "yolo"


def test_a_model_of_custom_vision_takes_bgr_levels(tmp_path: Path) -> None:
    path = edited(
        export(small(), tmp_path / "model.onnx"),
        metadata={"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "NominalRange_0_255"},
        producer="CustomVision",
    )
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\n")

    found = describe(str(path), {"output": "softmax"})

    assert [step.step for step in found.spec.preprocess.all_steps] == ["resize", "channels"]
    assert found.spec.classes == ("cat", "dog", "bird")
    assert found.facts.places["classes"] == "labels.txt beside the file"


def test_what_is_not_in_the_file_is_asked_for_with_what_is(tmp_path: Path) -> None:
    path = edited(keras_like(tmp_path / "a.onnx", normalizes=True), metadata=NAMES)

    message = refusal(path)

    assert message.startswith("preprocess: missing: say what the network was trained with (--preprocess imagenet, ")
    assert message.endswith(
        "the file says an input of 32x32, a normalization inside the graph, so that mean and std are left out, and not "
        'how an image is resized or the order of channels (for BGR, {step="channels", order="BGR"} among the steps)'
    )


def test_mean_and_std_of_the_metadata_are_offered_as_steps(tmp_path: Path) -> None:
    path = edited(export(small(), tmp_path / "a.onnx"), metadata={"mean": "[0.5, 0.4, 0.3]", "std": "0.2,0.2,0.2"})

    message = refusal(path, classes="a,b,c", output="softmax")

    assert 'the steps [{step="scale"}, {step="normalize", mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.2]}]' in message


def lines(found: Described) -> list[str]:
    return list(found.lines())


def test_layout_batch_and_normalization_are_said(tmp_path: Path) -> None:
    keras = describe(str(keras_like(tmp_path / "a.onnx", normalizes=True)), {"classes": "a,b,c", "preprocess": LEVELS})
    options = {"classes": "a,b,c", "preprocess": PREPROCESS, "output": "softmax"}
    torchs = describe(str(export(small(), tmp_path / "b.onnx")), options)

    assert "note        the graph takes [B,H,W,C]: images are handed over in that order" in lines(keras)
    assert (
        "note        the graph normalizes its input itself (Mul and Sub: mean [127.5], std [127.5]): it takes values "
        "of 0 to 255"
    ) in lines(keras)
    assert "note        the graph is of one image: it is made to take any number" in lines(torchs)


def test_a_normalization_is_not_applied_twice(tmp_path: Path) -> None:
    path = keras_like(tmp_path / "a.onnx", normalizes=True)

    assert refusal(path, classes="a,b,c", preprocess=PREPROCESS) == (
        "preprocess: would be applied twice: the graph normalizes its input itself (Mul and Sub: mean [127.5], std "
        "[127.5]): it takes values of 0 to 255: leave out scale and normalize, as a list of steps"
    )


def test_an_input_of_another_size_or_number_of_channels_is_refused(tmp_path: Path) -> None:
    path = export(small(), tmp_path / "a.onnx")
    gray = 'steps=[{step="resize", size=[32, 32]}, {step="gray"}, {step="scale"}]'

    assert refusal(path, classes="a,b,c", output="softmax", preprocess="imagenet") == (
        "preprocess: gives an input of 224x224, and the graph takes 32x32"
    )
    assert refusal(path, classes="a,b,c", output="softmax", preprocess=gray) == (
        "preprocess: gives 1 channels, and the graph takes 3"
    )


def test_several_outputs_are_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["image", "w"], [name], name) for name in ("scores", "features")]
    model = graph(nodes, {"w": np.zeros((2, 3, 32, 32), np.float32)}, outputs=("scores", "features"), rank=4)
    onnx.save(model, tmp_path / "a.onnx")

    assert refusal(tmp_path / "a.onnx") == (
        "output_entry: the file answers 'scores', 'features': say which are the logits (--output-entry)"
    )


def test_a_detector_is_refused_by_its_task(tmp_path: Path) -> None:
    path = edited(export(small(), tmp_path / "a.onnx"), metadata={"task": "detect"})

    assert refusal(path).startswith("architecture: a.onnx is a network for the task 'detect' (metadata task)")


def test_weights_are_the_files_own(tmp_path: Path) -> None:
    path = export(small(), tmp_path / "a.onnx")

    assert refusal(path, weights="other.pt") == "weights: an ONNX file brings its own, so there is nothing to load"
