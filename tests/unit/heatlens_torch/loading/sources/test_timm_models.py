"""Folders of timm's `save_for_hf` and timm's names say classes and preprocessing."""

import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from heatlens.errors import ModelFileError
from heatlens.input.preprocess import preprocess
from heatlens_torch.loading import zoo
from heatlens_torch.loading.described import describe
from heatlens_torch.loading.network import build_network
from heatlens_torch.loading.sources.timm_models import preprocessing
from tests.support.hugging_face import edit, save_timm
from tests.support.images import noise

LABELS = ["cat", "dog", "bird"]


@pytest.mark.parametrize("safe", [True, False])
def test_a_folder_says_everything(tmp_path: Path, *, safe: bool) -> None:
    network = save_timm(tmp_path / "pets", safe=safe, label_names=LABELS)

    found = describe(tmp_path / "pets")
    built = build_network(found.spec, found.home)

    assert (found.spec.architecture, found.spec.classes) == (f"timm:{tmp_path / 'pets'}", tuple(LABELS))
    assert found.facts.places["preprocess"] == "config.json pretrained_cfg"
    images = torch.rand(2, 3, *found.spec.preprocess.shape)
    with torch.no_grad():
        assert torch.equal(built.network(images), network(images))


def test_a_name_takes_a_checkpoint_with_as_many_logits_as_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network = timm.create_model("test_resnet", pretrained=False, num_classes=3).eval()
    torch.save({"state_dict_ema": {f"module._orig_mod.{k}": v for k, v in network.state_dict().items()}}, "a.pth.tar")

    found = describe("timm:test_resnet", {"weights": "a.pth.tar", "classes": "a,b,c", "output": "softmax"})
    built = build_network(found.spec, found.home)

    assert found.spec.arguments == {"num_classes": 3}
    assert found.facts.places["preprocess"] == "timm's configuration of test_resnet"
    assert all(map(torch.equal, built.network.parameters(), network.parameters()))
    assert (built.source["weights_entry"], built.source["weights_prefix"]) == ("state_dict_ema", "module.")


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("crop_pct", [0.875, 1.0])
def test_the_input_is_that_of_timms_own_transform(mode: str, crop_pct: float) -> None:
    config = {"input_size": [3, 96, 96], "crop_pct": crop_pct, "crop_mode": mode, "interpolation": "bicubic"}
    image = noise((201, 150))
    theirs = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=config))

    ours = preprocess(image, preprocessing(config))

    assert np.abs(ours - theirs(image).numpy()).max() < 1e-5


def test_rejects_an_unknown_crop_mode(tmp_path: Path) -> None:
    save_timm(tmp_path / "pets", label_names=LABELS)
    edit(tmp_path / "pets" / "config.json", pretrained_cfg={"crop_mode": "spiral"})

    with pytest.raises(ModelFileError, match=r"^preprocess: timm's crop mode 'spiral' is not known here"):
        describe(tmp_path / "pets")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("timm:resnet_of_mine", "architecture: timm has no network 'resnet_of_mine', and no such folder exists"),
        ("timm:test_resnet", "weights, classes, output: missing: say its weights (--weights FILE, "),
    ],
)
def test_a_name_alone_is_not_enough(what: str, message: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        describe(what)
    assert str(caught.value).startswith(message)


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)

    with pytest.raises(ModelFileError, match=r"^architecture: timm: needs timm: pip install 'heatlens\[timm\]'$"):
        zoo.build("timm:test_resnet", {})
