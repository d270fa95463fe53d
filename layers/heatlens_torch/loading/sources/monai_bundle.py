"""`monai:BUNDLE`: a MONAI bundle; its strings that begin with `$` are Python and are never run."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heatlens.errors import ModelFileError
from heatlens_torch.loading.labels import ordered
from heatlens_torch.loading.sources.base import OWN, Facts, read_json, weights_file

if TYPE_CHECKING:
    from heatlens_torch.loading.built_network import BuiltNetwork

METADATA_FILE = "configs/metadata.json"
INFERENCE_FILE = "configs/inference.json"
WEIGHT_FILES = ("models/model.pt", "models/model.safetensors")
# Classifiers of monai.networks.nets that a bundle may name: nothing else is called.
TARGETS = (
    *("DenseNet", "DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264", "EfficientNetBN"),
    *("ResNet", "SENet154", "SEResNet50", "SEResNet101", "SEResNet152", "SEResNext50", "SEResNext101"),
    *("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "TorchVisionFCModel"),
)
PLANE = 2
READERS = ("LoadImage", "LoadImaged", "LoadImageD", "LoadImageDict")


def facts(reference: str, home: Path, given: Mapping[str, Any]) -> Facts:
    """Read labels and output; MONAI's transforms are listed in notes, and preprocessing is asked for."""
    folder = home / reference
    outputs = read_json(folder / METADATA_FILE).get("network_data_format", {}).get("outputs", {}).get("pred", {})
    inference = read_json(folder / INFERENCE_FILE)
    _network_def(inference, folder.name)
    found = Facts()
    found.add("weights", OWN, weights_file(folder, WEIGHT_FILES))
    labels = outputs.get("channel_def")
    place = f"{METADATA_FILE} network_data_format.outputs.pred.channel_def"
    found.add("classes", ordered(labels) if isinstance(labels, dict) else None, place)
    output = _output(inference)
    found.add("output", output, f"{INFERENCE_FILE} postprocessing")
    found.notes += _notes(_transforms(inference.get("preprocessing")))
    return found


def build(reference: str, home: Path, given: Mapping[str, Any]) -> "BuiltNetwork":
    """Build the network that `network_def` names, from the allow list, and load its weights."""
    import monai.networks.nets

    from heatlens_torch.loading.built_network import BuiltNetwork
    from heatlens_torch.loading.checkpoints import load_weights, read_checkpoint

    folder = home / reference
    target, arguments = _network_def(read_json(folder / INFERENCE_FILE), folder.name)
    weights = folder / weights_file(folder, WEIGHT_FILES)
    checkpoint = read_checkpoint(weights, sha256=given.get("sha256"))
    try:
        network = getattr(monai.networks.nets, target)(**arguments)
    except Exception as error:  # constructors raise many unrelated types
        raise ModelFileError(f"architecture: {target} cannot be built as {INFERENCE_FILE} says") from error
    load_weights(network, checkpoint, name=weights.name)
    return BuiltNetwork(network.eval(), {}, {"weights": weights.name, "weights_sha256": checkpoint.sha256})


def _network_def(inference: Mapping[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    """Return the class and its plain arguments.

    Raises:
        ModelFileError: It is not in the allow list, has code among its arguments, or is three-dimensional.
    """
    definition = inference.get("network_def")
    if not isinstance(definition, dict):
        raise ModelFileError(f"architecture: {name}: {INFERENCE_FILE} has no network_def with a _target_")
    target = str(definition.get("_target_", "")).removeprefix("monai.networks.nets.")
    if target not in TARGETS:
        raise ModelFileError(
            f"architecture: {name}: {definition.get('_target_')!r} is not called: known are {', '.join(TARGETS)}"
        )
    arguments = {key: _plain(inference, key, value) for key, value in definition.items() if not key.startswith("_")}
    if arguments.get("spatial_dims", PLANE) != PLANE:
        raise ModelFileError(f"architecture: {name} is a network of volumes (spatial_dims 3): images are needed")
    arguments.pop("pretrained", None)
    return target, arguments


def _plain(inference: Mapping[str, Any], key: str, value: Any) -> Any:  # noqa: ANN401 - JSON
    """Resolve a reference such as `@classes` to a plain value; refuse code."""
    if isinstance(value, str) and value.startswith("@"):
        value = inference.get(value[1:], "$")
    if isinstance(value, str) and value.startswith("$"):
        raise ModelFileError(f"architecture: network_def.{key} is Python ({value!r}), which is not run: give its value")
    if isinstance(value, dict):
        raise ModelFileError(f"architecture: network_def.{key} is an object, which is not built: write plain values")
    return [_plain(inference, key, each) for each in value] if isinstance(value, list) else value


def _output(inference: Mapping[str, Any]) -> str | None:
    """Find what is applied to the logits; nothing found is asked for."""
    steps = inference.get("postprocessing", {})
    transforms = steps.get("transforms", ()) if isinstance(steps, dict) else ()
    for step in transforms:
        if isinstance(step, dict) and str(step.get("_target_", "")).endswith("Activationsd"):
            return "softmax" if step.get("softmax") else "multilabel" if step.get("sigmoid") else None
    return None


def _notes(transforms: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what an owner should know of the transforms: which they are, and that reading swaps rows and columns."""
    names = [str(each.get("_target_")) for each in transforms]
    if names:
        yield f"{INFERENCE_FILE} prepares images with {', '.join(names)}"
    for name, each in zip(names, transforms, strict=True):
        if name.rpartition(".")[2] in READERS and each.get("reverse_indexing") is not False:
            yield (
                f"{name} swaps rows and columns of an image file, and Heatlens does not: compare the logits of one "
                "image by [reference] in a model.toml"
            )


def _transforms(preprocessing: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401 - JSON
    transforms = preprocessing.get("transforms", ()) if isinstance(preprocessing, dict) else ()
    return [each for each in transforms if isinstance(each, dict)]
