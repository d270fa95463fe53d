"""Labels and preprocessing are read as exporters write them, and nothing is run."""

import pytest
from onnx import ModelProto

from heatlens.errors import ModelFileError
from heatlens_torch.loading.onnx_files.metadata import (
    check_task,
    is_bgr,
    labels_in,
    numbers_in,
    read_metadata,
    size_in,
)


@pytest.mark.parametrize(
    ("key", "text", "names"),
    [
        ("names", "{0: 'cat', 1: 'dog'}", ["cat", "dog"]),  # ultralytics
        ("character", "0\n90\n180", ["0", "90", "180"]),  # RapidOCR
        ("labels", '["cat", "dog"]', ["cat", "dog"]),
        ("class_names", "cat, dog", ["cat", "dog"]),
        ("id2label", '{"1": "dog", "0": "cat"}', ["cat", "dog"]),
        ("classes", '{"cat": 0, "dog": 1}', ["cat", "dog"]),
    ],
)
def test_class_names_of_every_form(key: str, text: str, names: list[str]) -> None:
    found = labels_in({key: text})

    assert found is not None
    assert (found.value, found.key) == (names, key)


@pytest.mark.parametrize("text", ["__import__('os').system('true')", "[" * 5000, "", "one"])
def test_what_is_no_list_of_names_is_none(text: str) -> None:
    assert labels_in({"names": text}) is None


def test_numbers_and_sizes() -> None:
    assert numbers_in({"mean": "[0.5, 0.4, 0.3]"}, ("mean",)) is not None
    assert numbers_in({"mean": "many"}, ("mean",)) is None
    assert size_in({"imgsz": "[224, 160]"}) == [224, 160]
    assert size_in({"imgsz": "224"}) == [224, 224]
    assert size_in({}) is None


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb"])
def test_a_network_of_another_task_is_refused(task: str) -> None:
    with pytest.raises(ModelFileError, match=f"^architecture: a.onnx is a network for the task '{task}'"):
        check_task({"task": task}, "a.onnx")


def test_a_classifier_passes() -> None:
    check_task({"task": "classify"}, "a.onnx")
    check_task({}, "a.onnx")


def test_the_order_of_channels_of_the_specification() -> None:
    model = ModelProto()
    model.metadata_props.add(key="Image.BitmapPixelFormat", value="Bgr8")

    assert is_bgr(read_metadata(model)) is True
    assert is_bgr({"image.bitmappixelformat": "Rgb8"}) is False
    assert is_bgr({}) is None
