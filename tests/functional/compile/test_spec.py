"""A model.toml is read into a ModelSpec, or rejected in one sentence that names the place."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torchvision
from torchvision.models import ViT_B_16_Weights

from heatlens.card import Preprocess
from heatlens.errors import ModelFileError
from heatlens.input.preprocess import preprocess
from heatlens_cli.init_model import write_template
from heatlens_torch.loading.spec import Description, located, read_spec, read_training
from heatlens_torch.loading.template import template
from heatlens_torch.loading.torchvision_weights import facts
from tests.support.images import noise

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


def test_imagenet_means_its_thousand_classes(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, VALID.replace('["no", "yes"]', '"imagenet"')))
    assert (len(spec.labels), spec.labels[0], spec.labels[999]) == (1000, "tench", "toilet tissue")


@pytest.mark.parametrize("weights", ["weights.safetensors", "seed:", "seed:one", "seed:-1", "seed.pt"])
def test_only_seed_and_a_number_is_a_seed(tmp_path: Path, weights: str) -> None:
    assert read_spec(written(tmp_path, VALID.replace("seed:7", weights))).seed is None


@pytest.mark.provokes("model.file")
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "std = [0.2, 0.2, 0.2]",
            "",
            "model.toml:9: preprocess: std: missing: give resize, mean and std, or a list of steps",
        ),
        ('output = "softmax"', "", "model.toml: output: missing: say whether the classes exclude each other"),
        ('output = "softmax"', 'output = "logits"', "model.toml:7: output: Input should be 'softmax', 'sigmoid'"),
        (
            'classes = ["no", "yes"]',
            "",
            "model.toml: classes: missing: say the names in the order of the logits (--classes FILE, or a,b,c; in ",
        ),
        (
            VALID[VALID.index("[preprocess]") :],
            "",
            "model.toml: preprocess: missing: say what the network was trained with (--preprocess imagenet, or ",
        ),
        (
            '"seed:7"',
            '"IMAGENET"',
            "model.toml:5: weights: torchvision has no weights 'IMAGENET' for resnet18: it has DEFAULT, IM",
        ),
        ('"torchvision:resnet18"', '"torch.export:a.pt2"', "model.toml:5: weights: a torch.export file brings its own"),
        ('layer = "layer4"', 'sha256 = "abc"', "model.toml:8: sha256: String should match pattern"),
        ('layer = "layer4"', "layer = []", "model.toml:8: layer: Tuple should have at least 1 item"),
        ('layer = "layer4"', f'sha256 = "{"0" * 64}"', "model.toml:8: sha256: says nothing of seed:7: remove it"),
        (
            'layer = "layer4"',
            'weights_prefix = "m."',
            "model.toml:8: weights_prefix: says nothing of seed:7: remove it",
        ),
        (
            'architecture = "torchvision:resnet18"',
            "",
            "model.toml: architecture: missing: say the network (--architecture torchvision:NAME, timm:NAME or ",
        ),
        (
            VALID[VALID.index("architecture") : VALID.index("layer")],
            "",
            "model.toml: architecture, weights, classes, output: missing: say the network (--architecture ",
        ),
        ('version = "1"', "version = 1", "model.toml:3: version: Input should be a valid string"),
        ('layer = "layer4"', 'layer = "layer4"\ncolor = 1', "model.toml:9: color: not a key of a description"),
        ('["no", "yes"]', '["no"]', "model.toml:6: classes: one name alone: output sigmoid has two"),
        ("resize = 72", "resize = 8", "model.toml:9: preprocess: crop must lie within the resized image"),
        (
            "std = [0.2, 0.2, 0.2]",
            "std = [0.2, 0.2, 0]",
            "model.toml:13: preprocess.std.2: Input should be greater than 0",
        ),
        ('name = "a"', "name = ", "model.toml:2: not valid TOML: Invalid value"),
    ],
)
def test_an_invalid_description_names_file_line_and_key(tmp_path: Path, before: str, after: str, message: str) -> None:
    assert before in VALID
    with pytest.raises(ModelFileError) as caught:
        read_spec(written(tmp_path, VALID.replace(before, after)))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("layer", "layers"), [('"a"', ("a",)), ('["a", "b.0"]', ("a", "b.0"))])
def test_one_layer_or_several_are_named(tmp_path: Path, layer: str, layers: tuple[str, ...]) -> None:
    assert read_spec(written(tmp_path, VALID.replace('"layer4"', layer))).layers == layers


def test_layers_are_empty_if_the_description_names_none(tmp_path: Path) -> None:
    assert read_spec(written(tmp_path, VALID.replace('layer = "layer4"', ""))).layers == ()


OWN = """
name = "a"
version = "1"
architecture = "torchvision:vit_b_16"
weights = "IMAGENET1K_SWAG_E2E_V1"
"""


def test_torchvisions_weights_give_classes_output_and_preprocessing(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, OWN))
    transforms = ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1.transforms()

    assert (spec.output, len(spec.classes), spec.classes[0]) == ("softmax", 1000, "tench")
    assert spec.preprocess.interpolation == "bicubic"
    image = noise((500, 460))
    expected = transforms(image).numpy()
    assert np.abs(preprocess(image, spec.preprocess) - expected).max() < 1e-5


def test_the_description_overrides_torchvisions_metadata(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, OWN + 'output = "multilabel"\n' + VALID[VALID.index("[preprocess]") :]))

    assert (spec.output, spec.preprocess.shape, len(spec.classes)) == ("multilabel", (64, 64), 1000)


def test_every_member_of_torchvisions_enumerations_is_understood() -> None:
    networks = torchvision.models.list_models(module=torchvision.models)
    known = {
        (network, member.name): facts(network, member.name)
        for network in networks
        for member in torchvision.models.get_model_weights(network)
    }

    assert len(known) > 100
    # This one has no classifier.
    assert [name for name, each in known.items() if len(each) < 3] == [("vgg16", "IMAGENET1K_FEATURES")]


def test_an_error_about_a_key_has_its_file_and_line(tmp_path: Path) -> None:
    path = written(tmp_path, VALID)
    with pytest.raises(ModelFileError, match=r"^model\.toml:5: weights: gone$"), located(path):
        raise ModelFileError("weights: gone")
    with pytest.raises(ModelFileError, match=r"^no key: gone$"), located(path):
        raise ModelFileError("no key: gone")


@pytest.mark.parametrize("architecture", ["torchvision:resnet50", "litresnet-enhanced"])
def test_a_template_of_a_known_network_is_a_complete_description(tmp_path: Path, architecture: str) -> None:
    spec = read_spec(written(tmp_path, template(architecture)))

    assert (spec.architecture, spec.preprocess.shape) == (architecture, (224, 224))


@pytest.mark.parametrize("architecture", ["package.module:factory", "torch.export:a.pt2"])
def test_a_template_of_an_unknown_network_marks_what_to_fill_in(tmp_path: Path, architecture: str) -> None:
    with pytest.raises(ModelFileError, match=r"^model\.toml: classes, output, preprocess: missing"):
        read_spec(written(tmp_path, template(architecture)))


@pytest.mark.parametrize("architecture", ["torchvision:resnet50", "package.module:factory", "torch.export:a.pt2"])
def test_every_comment_of_a_template_that_looks_like_a_key_is_one(tmp_path: Path, architecture: str) -> None:
    """With all comments taken out every key of a description is there, and right."""
    text = re.sub(r"^# (?=\w+ = |\[)", "", template(architecture), flags=re.MULTILINE)
    fields = tomllib.loads(text.replace('"…"', f'"{"0" * 64}"'))

    assert set(fields) == set(Description.model_fields)
    assert set(fields["preprocess"]) == set(Preprocess.model_fields) - {"steps"}
    Description.model_validate(fields)


def test_a_template_never_overwrites_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, VALID)
    with pytest.raises(ModelFileError, match=r"^model\.toml exists"):
        write_template(path, "torchvision:resnet50")
    assert path.read_text() == VALID


def test_a_missing_description_is_named_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"^model\.toml: no such readable file$"):
        read_spec(tmp_path / "model.toml")


def test_a_folder_in_place_of_a_description_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match=rf"^{tmp_path.name}: no such readable file$"):
        read_spec(Path())


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
