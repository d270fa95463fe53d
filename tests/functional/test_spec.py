"""model.toml -> ModelSpec, or one sentence that says where it is wrong."""

from pathlib import Path

import pytest

from heatlens.errors import ModelFileError
from heatlens_torch.spec import read_spec, read_training

VALID = """
name = "a"
version = "1"
architecture = "torchvision:resnet18"
weights = "seed:7"
classes = ["no", "yes"]
output = "softmax"
layer = "layer4"
[preprocess]
resize = 72
crop = [64, 64]
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.2, 0.2]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "model.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_valid_description_is_read(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, VALID))
    assert (spec.seed, spec.labels, spec.preprocess.shape, spec.arguments) == (7, ("no", "yes"), (64, 64), {})


def test_imagenet_stands_for_its_thousand_classes(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, VALID.replace('["no", "yes"]', '"imagenet"')))
    assert (len(spec.labels), spec.labels[0], spec.labels[999]) == (1000, "tench", "toilet tissue")


@pytest.mark.parametrize("weights", ["weights.safetensors", "seed:", "seed:one", "seed:-1", "seed.pt"])
def test_only_seed_and_a_number_is_a_seed(tmp_path: Path, weights: str) -> None:
    assert read_spec(written(tmp_path, VALID.replace("seed:7", weights))).seed is None


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('name = "a"', "", "model.toml: name: Field required"),
        ('version = "1"', "version = 1", "model.toml: version: Input should be a valid string"),
        ('layer = "layer4"', 'layer = "layer4"\ncolour = 1', "model.toml: colour: Extra inputs are not permitted"),
        ('["no", "yes"]', '["no"]', "model.toml: classes: Tuple should have at least 2 items"),
        ("resize = 72", "resize = 8", "model.toml: preprocess: Value error, crop must lie within the resized image"),
        (
            "std = [0.2, 0.2, 0.2]",
            "std = [0.2, 0.2, 0]",
            "model.toml: preprocess.std.2: Input should be greater than 0",
        ),
        ('name = "a"', "name = ", "model.toml: not valid TOML in UTF-8: Invalid value"),
    ],
)
def test_the_sentence_says_where(tmp_path: Path, before: str, after: str, message: str) -> None:
    assert before in VALID
    with pytest.raises(ModelFileError) as caught:
        read_spec(written(tmp_path, VALID.replace(before, after)))
    assert str(caught.value).startswith(message)


def test_a_missing_description_is_named_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"^model\.toml: no such readable file$"):
        read_spec(tmp_path / "model.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1]", "not a JSON object"), ("{", "not JSON"), (None, "no such readable file")],
)
def test_a_training_record_is_a_json_object(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "training.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ModelFileError, match=f"^training: training.json: {message}$"):
        read_training(path)
