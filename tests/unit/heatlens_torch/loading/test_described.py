"""WHAT an owner names becomes a complete description; what is missing is asked for in one sentence."""

from pathlib import Path

import pytest
import torch

from heatlens.errors import ModelFileError
from heatlens_torch.loading.described import describe

IMAGENET = {"classes": "imagenet", "output": "softmax", "preprocess": "imagenet"}


def test_a_torchvision_name_is_enough() -> None:
    found = describe("torchvision:resnet18")

    assert (found.spec.name, found.spec.version, found.spec.weights) == ("resnet18", "1", "DEFAULT")
    assert (len(found.spec.classes), found.spec.output, found.spec.preprocess.crop) == (1000, "softmax", (224, 224))
    assert [line.split()[0] for line in found.lines()] == ["weights", "classes", "output", "preprocess"]
    assert (
        "classes     tench, goldfish, great white shark and 997 more (metadata of torchvision's weights DEFAULT)"
        in (list(found.lines()))
    )


def test_a_checkpoint_alone_asks_for_all_that_is_missing_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(2)}, "resnet.pth")

    with pytest.raises(ModelFileError) as caught:
        describe("resnet.pth", {"classes": "cat,dog", "preprocess": "imagenet"})

    assert str(caught.value) == (
        "architecture, output: missing: say the network (--architecture torchvision:NAME, timm:NAME or "
        "package.module:factory; in model.toml architecture); whether the classes exclude each other (--output "
        "softmax, sigmoid for one logit, or multilabel; in model.toml output)"
    )


def test_options_say_what_a_checkpoint_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(2)}, "resnet.pth")
    (tmp_path / "labels.txt").write_text("cat\n\ndog, big\n")

    found = describe("resnet.pth", IMAGENET | {"architecture": "torchvision:resnet18", "classes": "labels.txt"})

    assert (found.spec.architecture, found.spec.weights) == ("torchvision:resnet18", "resnet.pth")
    assert (found.spec.name, found.spec.classes, found.spec.preprocess.resize) == ("resnet", ("cat", "dog, big"), 256)


def test_options_override_a_description(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text(
        'architecture = "torchvision:resnet18"\nversion = "4"\noutput = "multilabel"\n'
    )

    found = describe(tmp_path / "model.toml", {"output": "softmax", "layer": ["layer3", "layer4"]})

    assert (found.spec.name, found.spec.version) == (tmp_path.name, "4")
    assert (found.spec.output, found.spec.layers) == ("softmax", ("layer3", "layer4"))


def test_a_factory_without_weights_brings_its_own(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text('architecture = "chest:build"')

    assert describe(tmp_path / "model.toml", IMAGENET).spec.weights == "own"


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("nowhere", {}, "nowhere: no such file or folder; it can also be hf:… (a folder of transformers'"),
        ("torchvision:resnet18", {"output": "logits"}, "output: Input should be 'softmax', 'sigmoid' or"),
        ("torchvision:resnet18", {"classes": "cats"}, "classes: 'cats' is neither a file nor several names"),
        ("torchvision:resnet18", {"preprocess": "caffe"}, "preprocess: 'caffe' is neither imagenet nor a list such"),
        ("torchvision:resnet19", {}, "architecture: torchvision has no classification model 'resnet19'"),
    ],
)
def test_rejects_what_cannot_be_compiled(what: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        describe(what, options)
    assert str(caught.value).startswith(message)


def test_any_key_of_a_description_can_be_said_on_the_command_line(tmp_path: Path) -> None:
    """timm's training script keeps the network and its average in one file: one of them is chosen by a key."""
    settings = ["weights_entry=state_dict_ema", "arguments = {num_classes = 3}", 'notice="a=b"', "version=2"]
    options = {"weights": "best.pth.tar", "classes": "a,b,c", "output": "softmax", "preprocess": "imagenet"}

    spec = describe("torchvision:resnet18", options | {"set": settings, "version": "7"}).spec

    assert (spec.weights_entry, spec.arguments) == ("state_dict_ema", {"num_classes": 3})
    assert (spec.notice, spec.version) == ("a=b", "7")


@pytest.mark.parametrize("setting", ["weights_entri=ema", "weights_entry", "=ema"])
def test_a_setting_that_is_no_key_is_refused_with_the_keys(setting: str) -> None:
    with pytest.raises(ModelFileError, match=r"^--set .*: write KEY=VALUE with a key of model\.toml: .*weights_entry"):
        describe("torchvision:resnet18", {"set": [setting]})


def test_one_class_alone_is_refused_as_a_regression(tmp_path: Path) -> None:
    message = r"classes: one name alone: output sigmoid has two, .* is a regression: it has no classes"
    with pytest.raises(ModelFileError, match=rf"^{message}.* \(--classes\)$"):
        describe("torchvision:resnet18", IMAGENET | {"classes": ["age"]})
    (tmp_path / "model.toml").write_text('architecture = "torchvision:resnet18"\nclasses = ["age"]\n')
    with pytest.raises(ModelFileError, match=rf"^model\.toml:2: {message}"):
        describe(tmp_path / "model.toml")
