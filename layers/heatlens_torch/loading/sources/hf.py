"""`hf:FOLDER`: what transformers' `save_pretrained` wrote, the model's and its image processor's."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heatlens.errors import ModelFileError
from heatlens_torch.loading.labels import ordered
from heatlens_torch.loading.sources import timm_models
from heatlens_torch.loading.sources.base import OWN, Facts, read_json, weights_file
from heatlens_torch.loading.sources.hf_processor import PROCESSOR_FILE, preprocessing

if TYPE_CHECKING:
    from heatlens_torch.loading.built_network import BuiltNetwork

CONFIG_FILE = "config.json"
TASK = "ForImageClassification"
WRITER = "save_pretrained"
# Where the logits are, of classifiers that do not call them so.
ENTRIES = {"pp_lcnet": "last_hidden_state"}
# Classifiers that take no images: what they take instead.
NO_IMAGES = {
    "imagegpt": "numbers of color clusters, through which nothing can be differentiated",
    "siglip2": "patches that its processor has cut, with their mask: save a fixed-resolution SigLIP",
}
OUTPUTS = {None: "softmax", "single_label_classification": "softmax", "multi_label_classification": "multilabel"}
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def facts(reference: str, home: Path, given: Mapping[str, Any]) -> Facts:
    """Read classes, output and preprocessing; neither torch nor transformers is loaded."""
    folder = _folder(home / reference)
    config = read_json(folder / CONFIG_FILE)
    _check_task(config, folder.name)
    found = Facts()
    found.add("weights", OWN, weights_file(folder, WEIGHT_FILES, WRITER))
    found.add("output_entry", ENTRIES.get(config.get("model_type", ""), "logits"), "transformers' answer")
    _add_classes(found, config)
    _add_output(found, config, given)
    if "preprocess" not in given:
        _add_preprocessing(found, folder, config)
    return found


def build(reference: str, home: Path, given: Mapping[str, Any]) -> "BuiltNetwork":  # `given` is of every source
    """Load the network by transformers itself, which renames keys: local files only, and no code of the folder's."""
    import transformers
    from transformers.utils.logging import disable_progress_bar

    from heatlens_torch.errors import sentence
    from heatlens_torch.loading.built_network import BuiltNetwork
    from heatlens_torch.loading.checkpoints import check_digest
    from heatlens_torch.loading.exported_program import tensors_only

    folder = _folder(home / reference)
    weights = folder / weights_file(folder, WEIGHT_FILES, WRITER)
    digest = check_digest(weights, given.get("sha256"))
    disable_progress_bar()
    try:
        with tensors_only():
            network, report = transformers.AutoModelForImageClassification.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                dtype="float32",
                attn_implementation="eager",
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises many unrelated types
        raise ModelFileError(
            f"weights: transformers cannot load {folder.name}: {sentence(error)} (transformers "
            f"{transformers.__version__} here{_saved_by(folder)})"
        ) from error
    _check_report(report, folder.name)
    return BuiltNetwork(network.eval(), {}, {"weights": weights.name, "weights_sha256": digest})


def _saved_by(folder: Path) -> str:
    version = read_json(folder / CONFIG_FILE).get("transformers_version")
    return f", {version} saved it" if version else ""


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ModelFileError(
            f"architecture: {path.name}: no such folder; nothing is downloaded: hf download {path} --local-dir "
            f"{path.name}, then hf:{path.name}"
        )
    return path


def _check_task(config: Mapping[str, Any], name: str) -> None:
    if "auto_map" in config:
        raise ModelFileError(
            f"architecture: {name} needs code of its own (auto_map in {CONFIG_FILE}), which is not run: export the "
            "network with torch.export.save, and name that file"
        )
    architectures = config.get("architectures") or []
    if not any(TASK in str(each) for each in architectures):
        kind = ", ".join(map(str, architectures)) or "no architecture"
        raise ModelFileError(
            f"architecture: {name} holds {kind}, which is no image classifier: save a model of "
            f"AutoModelForImageClassification with save_pretrained"
        )
    instead = NO_IMAGES.get(config.get("model_type", ""))
    if instead:
        raise ModelFileError(
            f"architecture: {architectures[0]} of {name} takes no images [B,3,H,W]: it takes {instead}"
        )


def _add_classes(found: Facts, config: Mapping[str, Any]) -> None:
    labels, names = config.get("id2label"), config.get("label_names")  # the latter of a network of timm
    found.add("classes", ordered(labels) if isinstance(labels, dict) else None, f"{CONFIG_FILE} id2label")
    found.add("classes", names if isinstance(names, list) else None, f"{CONFIG_FILE} label_names")


def _add_preprocessing(found: Facts, folder: Path, config: Mapping[str, Any]) -> None:
    """Read the processor's file, or what timm says where transformers wraps a network of timm."""
    recipe, used = preprocessing(folder, config)
    found.add("preprocess", recipe, PROCESSOR_FILE)
    found.notes += [used] if used else []
    wrapped = config.get("pretrained_cfg")
    if recipe is None and isinstance(wrapped, dict):
        found.add("preprocess", timm_models.preprocessing(wrapped), f"{CONFIG_FILE} pretrained_cfg")


def _add_output(found: Facts, config: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    problem = config.get("problem_type")
    count = len(config.get("id2label") or ()) or config.get("num_classes") or config.get("num_labels", 2)
    if (problem == "regression" or (problem is None and count == 1)) and "output" not in given:
        raise ModelFileError(
            "output: the network was trained for regression, which has no classes; if its one logit means yes or no: "
            "--output sigmoid --classes no,yes (output and classes in model.toml)"
        )
    if count == 1:
        found.keep(found.values.keys() - {"classes"})
    place = f"{CONFIG_FILE} problem_type" if problem else f"{CONFIG_FILE} has no problem_type: transformers' default"
    found.add("output", OUTPUTS.get(problem), place)


def _check_report(report: Mapping[str, Any], name: str) -> None:
    """Refuse what transformers only warns of: weights that it drew at random."""
    lacking = sorted(map(str, report.get("missing_keys") or ())) + sorted(map(str, report.get("mismatched_keys") or ()))
    if lacking:
        raise ModelFileError(f"weights: {name} does not fit the architecture: missing {', '.join(lacking[:3])}")
