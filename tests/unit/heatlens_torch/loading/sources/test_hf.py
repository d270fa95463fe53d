"""Folders of transformers' `save_pretrained` say classes, output and preprocessing; the library loads the network."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from heatlens.errors import ModelFileError
from heatlens_torch.loading.described import describe
from heatlens_torch.loading.network import build_network
from heatlens_torch.loading.sources.recognize import recognize
from tests.support.hugging_face import PIXELS, edit, save_transformers


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf") / "pets"
    save_transformers(folder, problem_type="single_label_classification", transformers_version="4.51.0")
    edit(folder / "config.json", transformers_version="4.51.0")
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "pets"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def refusal(folder: Path, **options: str) -> str:
    try:
        described = describe(f"hf:{folder}", options)
        build_network(described.spec, described.home)
    except ModelFileError as error:
        return str(error)
    raise AssertionError("nothing is refused")


def test_the_folder_says_everything_and_where(saved: Path) -> None:
    found = describe(saved)

    assert (found.spec.name, found.spec.architecture, found.spec.classes) == (
        "pets",
        f"hf:{saved}",
        ("cat", "dog", "bird"),
    )
    assert (found.spec.output, found.spec.output_entry, found.spec.preprocess.shape) == (
        "softmax",
        "logits",
        (PIXELS, PIXELS),
    )
    assert found.facts.places == {
        "weights": "model.safetensors",
        "output_entry": "transformers' answer",
        "classes": "config.json id2label",
        "output": "config.json problem_type",
        "preprocess": "preprocessor_config.json",
    }
    assert list(found.lines())[-1] == "note        ViTImageProcessor of the version that saved it resizes by Pillow"


def test_the_network_answers_as_transformers_does(saved: Path) -> None:
    from transformers import AutoModelForImageClassification

    found = describe(saved)
    network = build_network(found.spec, found.home)
    images = torch.rand(2, 3, PIXELS, PIXELS)
    reference = AutoModelForImageClassification.from_pretrained(saved, local_files_only=True).eval()

    with torch.no_grad():
        assert torch.equal(network.network(images), reference(images).logits)
    assert network.source["weights"] == "model.safetensors"


def test_a_checked_pickle_is_taken_too(copied: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()

    found = describe(copied)

    assert build_network(found.spec, found.home).source["weights"] == "pytorch_model.bin"


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("ran",))


def test_a_pickle_that_calls_something_is_refused(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"classifier.1.bias": Attack()}, copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()

    assert refusal(copied).startswith("weights: transformers cannot load pets: ")
    assert "ran" not in capsys.readouterr().out


def test_weights_that_lack_something_are_refused(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(copied / "model.safetensors")
    del state["classifier.1.bias"]
    save_file(state, copied / "model.safetensors", metadata={"format": "pt"})

    assert refusal(copied) == "weights: pets does not fit the architecture: missing classifier.1.bias"


@pytest.mark.parametrize(
    ("changes", "output", "classes"),
    [
        ({"problem_type": "multi_label_classification"}, "multilabel", 3),
        ({"problem_type": None}, "softmax", 3),
    ],
)
def test_the_kind_of_problem_is_the_output(copied: Path, changes: dict[str, object], output: str, classes: int) -> None:
    edit(copied / "config.json", **changes)

    found = describe(copied)

    assert (found.spec.output, len(found.spec.classes)) == (output, classes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem_type": "regression"}, "output: the network was trained for regression, which has no classes; "),
        ({"problem_type": None, "id2label": {"0": "LABEL_0"}}, "output: the network was trained for regression"),
        ({"auto_map": {"AutoModel": "a.B"}}, "architecture: pets needs code of its own (auto_map in config.json)"),
        ({"architectures": ["ResNetModel"]}, "architecture: pets holds ResNetModel, which is no image classifier"),
    ],
)
def test_refuses_what_is_no_classifier(copied: Path, changes: dict[str, object], message: str) -> None:
    edit(copied / "config.json", **changes)

    assert refusal(copied).startswith(message)


def test_one_logit_that_means_yes_or_no_is_said_by_the_owner(copied: Path) -> None:
    edit(copied / "config.json", id2label={"0": "LABEL_0"}, problem_type=None)

    found = describe(copied, {"output": "sigmoid", "classes": "no,yes"})

    assert (found.spec.output, found.spec.classes) == ("sigmoid", ("no", "yes"))


def test_a_name_of_the_hub_is_never_downloaded(tmp_path: Path) -> None:
    assert refusal(tmp_path / "vit").endswith(f"hf download {tmp_path / 'vit'} --local-dir vit, then hf:vit")


def test_a_folder_without_its_processor_asks_for_preprocessing(copied: Path) -> None:
    (copied / "preprocessor_config.json").unlink()

    assert refusal(copied).startswith("preprocess: missing: say what the network was trained with")


def test_facts_are_read_without_transformers(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)

    found = describe(saved)
    with pytest.raises(ModelFileError) as caught:
        build_network(found.spec, found.home)

    assert str(caught.value) == "architecture: hf: needs transformers: pip install 'heatlens[hf]'"


def test_a_configuration_that_is_no_json_is_refused(copied: Path) -> None:
    (copied / "config.json").write_text("{")

    with pytest.raises(ModelFileError, match=r"^architecture: pets/config\.json is not JSON$"):
        recognize(str(copied))


@pytest.mark.parametrize(
    "architecture", ["DeiTForImageClassificationWithTeacher", "PerceiverForImageClassificationLearned"]
)
def test_a_classifier_with_a_longer_name_is_one(architecture: str, copied: Path) -> None:
    edit(copied / "config.json", architectures=[architecture])

    assert describe(copied).spec.output_entry == "logits"


def test_logits_under_another_name_are_found(copied: Path) -> None:
    edit(copied / "config.json", model_type="pp_lcnet")

    assert describe(copied).spec.output_entry == "last_hidden_state"


@pytest.mark.parametrize(
    ("model_type", "instead"), [("imagegpt", "numbers of color clusters"), ("siglip2", "patches that its processor")]
)
def test_a_classifier_that_takes_no_images_is_refused(model_type: str, instead: str, copied: Path) -> None:
    edit(copied / "config.json", model_type=model_type)

    assert f"pets takes no images [B,3,H,W]: it takes {instead}" in refusal(copied)


@pytest.mark.parametrize(
    ("model_type", "architecture", "reason"),
    [
        ("van", "VanForImageClassification", "ValueError: The checkpoint you are trying to load has model type `van`"),
        ("dinat", "DinatForImageClassification", "requires the natten library"),
    ],
)
def test_what_transformers_cannot_build_is_refused_by_name(
    model_type: str, architecture: str, reason: str, copied: Path
) -> None:
    """A type that transformers 5 dropped, and one with native code that is not installed."""
    fields = {"model_type": model_type, "architectures": [architecture], "transformers_version": "4.51.0"}
    labels = {"id2label": {"0": "cat", "1": "dog"}}
    (copied / "config.json").write_text(json.dumps(fields | labels))

    refused = refusal(copied)

    assert refused.endswith(" here, 4.51.0 saved it)")
    assert reason in refused
    assert "\n" not in refused


def test_a_network_of_timm_in_a_wrapper_says_its_names_and_preprocessing(copied: Path) -> None:
    path = copied / "config.json"
    config = json.loads(path.read_text())
    del config["id2label"]
    wrapped = {"input_size": [3, 64, 64], "interpolation": "bilinear", "crop_pct": 1.0}
    path.write_text(json.dumps(config | {"label_names": ["cat", "dog"], "num_classes": 2, "pretrained_cfg": wrapped}))
    (copied / "preprocessor_config.json").unlink()

    found = describe(f"hf:{copied}")

    assert found.spec.classes == ("cat", "dog")
    assert found.spec.preprocess.shape == (64, 64)
    assert found.facts.places["preprocess"] == "config.json pretrained_cfg"
