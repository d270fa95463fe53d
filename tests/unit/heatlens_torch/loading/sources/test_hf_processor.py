"""The fields of transformers' image processors give the input that the processors themselves give."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from heatlens.errors import ModelFileError
from heatlens.input.preprocess import preprocess
from heatlens_torch.loading.sources.hf_processor import PROCESSOR_FILE, preprocessing
from tests.support.images import noise

V5 = {"transformers_version": transformers.__version__}
SMALL = {"height": 64, "width": 48}
PROCESSORS: list[tuple[str, dict[str, Any]]] = [
    ("ViT", {"size": SMALL}),
    ("ViT", {"size": SMALL, "do_normalize": False, "resample": 3}),
    ("DeiT", {"size": {"height": 80, "width": 80}, "crop_size": {"height": 64, "width": 64}}),
    ("Bit", {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}),
    ("CLIP", {"size": {"shortest_edge": 71}, "crop_size": {"height": 64, "width": 64}}),
    ("ConvNext", {"size": {"shortest_edge": 64}, "crop_pct": 0.875}),
    ("ConvNext", {"size": {"shortest_edge": 384}}),
    ("EfficientNet", {"size": SMALL, "rescale_offset": True, "include_top": False}),
    ("EfficientNet", {"size": SMALL}),
    ("Levit", {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}),
    ("MobileViT", {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}),
    ("PoolFormer", {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}, "crop_pct": 0.9}),
    ("MobileNetV2", {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}),
]


def saved(folder: Path, kind: str, fields: dict[str, Any]) -> Any:  # noqa: ANN401 - transformers is untyped
    processor = getattr(transformers, f"{kind}ImageProcessor")(**fields)
    processor.save_pretrained(folder)
    return processor


@pytest.mark.parametrize(("kind", "fields"), PROCESSORS)
def test_the_input_is_the_processors_own_within_a_level(tmp_path: Path, kind: str, fields: dict[str, Any]) -> None:
    processor = saved(tmp_path, kind, fields)
    image = noise((203, 151))
    theirs = processor(image, return_tensors="np")["pixel_values"][0]

    recipe, used = preprocessing(tmp_path, V5)

    assert recipe is not None
    ours = preprocess(image, recipe)
    level = max(abs(theirs).max() / 255, 1 / 255) * 4  # of a value in 0..255, in the unit of the input
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= level
    assert used == f"{kind}ImageProcessor of the version that saved it resizes by torchvision on tensors"


@pytest.mark.parametrize(
    ("name", "version", "library"),
    [
        ("ViTImageProcessor", "4.51.0", "Pillow"),
        ("ViTFeatureExtractor", "4.10.0", "Pillow"),
        ("ViTImageProcessorFast", "4.51.0", "torchvision on tensors"),
        ("ViTImageProcessor", "5.0.0", "torchvision on tensors"),
        ("ViTImageProcessorPil", "5.0.0", "Pillow"),
    ],
)
def test_says_what_resizes(tmp_path: Path, name: str, version: str, library: str) -> None:
    fields = {"image_processor_type": name, "size": {"height": 8, "width": 8}}
    (tmp_path / PROCESSOR_FILE).write_text(json.dumps(fields))

    recipe, used = preprocessing(tmp_path, {"transformers_version": version})

    assert recipe is not None
    assert used == f"{name} of the version that saved it resizes by {library}"
    assert (recipe.steps is None) == (library == "Pillow")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_processor_type": "OwnImageProcessor"}, "preprocess: OwnImageProcessor is not known here: say it"),
        ({"do_resize": False}, "preprocess: preprocessor_config.json does not resize, or pads: say it yourself"),
        ({"do_pad": True}, "preprocess: preprocessor_config.json does not resize, or pads"),
        ({"size": {"shortest_edge": 8, "longest_edge": 9}}, "preprocess: preprocessor_config.json has a size"),
        ({"size": {"shortest_edge": 8}}, "preprocess: "),
    ],
)
def test_refuses_what_is_not_known(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    (tmp_path / PROCESSOR_FILE).write_text(json.dumps({"image_processor_type": "ViTImageProcessor"} | fields))

    with pytest.raises(ModelFileError) as caught:
        preprocessing(tmp_path, V5)
    assert str(caught.value).startswith(message)
