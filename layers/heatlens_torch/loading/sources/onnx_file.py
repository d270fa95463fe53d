"""`onnx:FILE`: an ONNX graph with its weights, and what its metadata say."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heatlens.card import Preprocess
from heatlens.errors import ModelFileError
from heatlens.steps import Normalize, Scale
from heatlens_torch.loading.onnx_files.bound_inputs import bind_inputs
from heatlens_torch.loading.onnx_files.metadata import (
    CLASSIFY,
    DEVIATIONS,
    MEANS,
    PIXEL_RANGE,
    RANGES,
    check_task,
    is_bgr,
    labels_in,
    numbers_in,
    read_metadata,
    size_in,
)
from heatlens_torch.loading.onnx_files.read import read_model
from heatlens_torch.loading.onnx_files.signature import Affine, Signature, read_signature
from heatlens_torch.loading.onnx_files.written_out import with_activations
from heatlens_torch.loading.sources.base import OWN, Facts
from heatlens_torch.loading.sources.recipe import Recipe

if TYPE_CHECKING:
    from onnx import ModelProto

    from heatlens_torch.loading.built_network import BuiltNetwork

LABELS_FILE = "labels.txt"  # Azure Custom Vision's, beside the model
CUSTOM_VISION = "customvision"


def facts(reference: str, home: Path, given: Mapping[str, Any]) -> Facts:
    """Read labels, output and preprocessing from the graph and its metadata; torch is not loaded."""
    path = home / reference
    if given.get("weights") not in (None, OWN):
        raise ModelFileError("weights: an ONNX file brings its own, so there is nothing to load")
    model = _read(path, given)
    metadata = read_metadata(model)
    check_task(metadata, path.name)
    signature = read_signature(with_activations(model), path.name)
    found = Facts()
    found.add("weights", OWN, path.name)
    output = _output(signature, given)
    count = signature.counts.get(output)
    _add_classes(found, signature, metadata, path, count)
    _add_output(found, signature, output, count)
    _add_preprocess(found, signature, metadata, model.producer_name)
    _add_notes(found, signature, metadata)
    if "preprocess" in given:
        _check_given(given["preprocess"], signature)
    return found


def build(reference: str, home: Path, given: Mapping[str, Any]) -> "BuiltNetwork":
    """Convert the graph, let its batch be of any size, and keep the file to compare with."""
    from heatlens_torch.errors import running
    from heatlens_torch.loading.built_network import BuiltNetwork
    from heatlens_torch.loading.checkpoints import check_digest
    from heatlens_torch.loading.onnx_files.batch import learn_batch
    from heatlens_torch.loading.onnx_files.network import OnnxNetwork
    from heatlens_torch.loading.onnx_files.original import OriginalFile

    path = home / reference
    digest = check_digest(path, given.get("sha256"))
    model = _read(path, given)
    network_model = with_activations(model)
    signature = read_signature(network_model, path.name)
    recipe: Preprocess = given["preprocess"]
    _check_given(recipe, signature)
    network = OnnxNetwork(network_model, signature, path.name).eval()
    shape = (recipe.channels, *recipe.shape)
    with running((signature.batch or 1, *shape), network):
        learn_batch(network, shape)
    original = OriginalFile(model, signature, _output(signature, given))
    return BuiltNetwork(network, {}, {"weights": path.name, "weights_sha256": digest}, original)


def _read(path: Path, given: Mapping[str, Any]) -> "ModelProto":
    """Read the file, with constants in place of the inputs beside the image."""
    model = read_model(path)
    bind_inputs(model, given.get("input_entry"), given.get("constants") or {}, path.name)
    return model


def _output(signature: Signature, given: Mapping[str, Any]) -> str:
    """Return the output that is explained: the only one, or `output_entry`."""
    entry = given.get("output_entry")
    if entry is not None and len(signature.outputs) > 1 and entry in signature.outputs:
        return str(entry)
    if len(signature.outputs) > 1:
        names = ", ".join(f"{name!r}" for name in signature.outputs)
        raise ModelFileError(f"output_entry: the file answers {names}: say which are the logits (--output-entry)")
    return signature.outputs[0]


def _add_classes(
    found: Facts, signature: Signature, metadata: Mapping[str, str], path: Path, count: int | None
) -> None:
    if signature.labels:
        found.add("classes", list(signature.labels), f"{path.name}, its ZipMap")
        return
    labels = labels_in(metadata)
    if labels is not None:
        found.add("classes", labels.value, f"{path.name}, metadata {labels.key}")
        return
    beside = path.with_name(LABELS_FILE)
    if count and count > 1 and beside.is_file():
        lines = [line.strip() for line in beside.read_text(encoding="utf-8", errors="replace").splitlines()]
        names = [line for line in lines if line]
        if len(names) == count:
            found.add("classes", names, f"{LABELS_FILE} beside the file")


def _add_output(found: Facts, signature: Signature, output: str, count: int | None) -> None:
    end = signature.ends.get(output)
    if end == "softmax":
        found.add("output", "softmax", "the graph ends in a Softmax")
    elif end == "sigmoid" and count:
        kind = "sigmoid" if count == 1 else "multilabel"
        found.add("output", kind, f"the graph ends in a Sigmoid of {count}")


def _add_preprocess(found: Facts, signature: Signature, metadata: Mapping[str, str], producer: str) -> None:
    size = list(signature.size) if signature.size else size_in(metadata)
    if metadata.get("task", "").lower() == CLASSIFY and size:
        recipe = Recipe(
            {"size": size, "fit": "shortest", "interpolation": "bilinear"}, (0, 0, 0), (1, 1, 1), {"size": size}
        )
        found.add("preprocess", recipe.preprocess(), "ultralytics' transforms of the task classify, metadata imgsz")
        return
    steps = _known_steps(signature, metadata)
    if producer.lower() == CUSTOM_VISION and size:
        resize = {"step": "resize", "size": size, "interpolation": "bicubic"}
        found.add(
            "preprocess",
            Preprocess.model_validate({"steps": [resize, *steps]}),
            "Custom Vision's own code, metadata Image.*",
        )
        return
    found.hints["preprocess"] = _hint(signature, metadata, size, steps)


def _known_steps(signature: Signature, metadata: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the steps after resizing that the file says."""
    steps: list[dict[str, Any]] = [{"step": "channels", "order": "BGR"}] if is_bgr(metadata) else []
    mean, std = numbers_in(metadata, MEANS), numbers_in(metadata, DEVIATIONS)
    levels = RANGES.get(metadata.get(PIXEL_RANGE, "").lower())
    if mean and std:
        steps += [{"step": "scale"}] if max(mean.value) <= 1 else []
        steps.append({"step": "normalize", "mean": mean.value, "std": std.value})
    elif levels and levels != "0 to 255":
        low, high = (float(each) for each in levels.split(" to "))
        steps.append({"step": "range", "low": low, "high": high})
    return steps


def _hint(
    signature: Signature, metadata: Mapping[str, str], size: list[int] | None, steps: list[dict[str, Any]]
) -> str:
    """Say what the file knows of its preprocessing, and what it does not."""
    known = [f"an input of {size[0]}x{size[1]}"] if size else []
    known += [f"the steps {_inline(steps)}"] if steps else []
    if signature.affine is not None and not signature.affine.learned:
        known.append("a normalization inside the graph, so that mean and std are left out")
    order = "" if is_bgr(metadata) is not None else " or the order of channels (for BGR, "
    order += '{step="channels", order="BGR"} among the steps)' if order else ""
    return f"the file says {', '.join(known) or 'nothing of it'}, and not how an image is resized{order}"


def _inline(steps: list[dict[str, Any]]) -> str:
    """Write steps as TOML."""
    written = (", ".join(f"{k}={v!r}".replace("'", '"') for k, v in step.items()) for step in steps)
    return f"[{', '.join(f'{{{each}}}' for each in written)}]"


def _add_notes(found: Facts, signature: Signature, metadata: Mapping[str, str]) -> None:
    if signature.channels_last:
        found.notes.append("the graph takes [B,H,W,C]: images are handed over in that order")
    if signature.batch:
        found.notes.append(f"the graph is of {_images(signature.batch)}: it is made to take any number")
    if signature.affine is not None:
        found.notes.append(_about(signature.affine))
    if is_bgr(metadata):
        found.notes.append("the graph takes BGR (metadata Image.BitmapPixelFormat)")


def _images(count: int) -> str:
    return "one image" if count == 1 else f"{count} images"


def _about(affine: Affine) -> str:
    what = " and ".join(affine.nodes)
    if affine.learned:
        return f"the graph begins with a {what}, which may be a normalization of gray levels or a learned one"
    mean, std = ([float(f"{each:.4g}") for each in values] for values in (affine.mean, 1 / affine.gain))
    values = "0 to 255" if affine.takes_levels else "0 to 1"
    return f"the graph normalizes its input itself ({what}: mean {mean}, std {std}): it takes values of {values}"


def _check_given(recipe: Any, signature: Signature) -> None:  # noqa: ANN401 - a Preprocess
    """Refuse an input of another size, or one that is normalized twice."""
    if signature.size and recipe.shape != signature.size:
        ours, theirs = ("x".join(map(str, shape)) for shape in (recipe.shape, signature.size))
        raise ModelFileError(f"preprocess: gives an input of {ours}, and the graph takes {theirs}")
    if signature.channels and recipe.channels != signature.channels:
        raise ModelFileError(
            f"preprocess: gives {recipe.channels} channels, and the graph takes {signature.channels}"
            + (" (a step gray makes one)" if signature.channels == 1 else "")
        )
    affine = signature.affine
    if affine is None or affine.learned:
        return
    steps = recipe.all_steps
    twice = any(isinstance(step, Normalize) and (np.any(step.mean) or np.ptp([*step.std, 1])) for step in steps)
    if twice or (affine.takes_levels and any(isinstance(step, Scale) and step.factor < 1 for step in steps)):
        raise ModelFileError(
            f"preprocess: would be applied twice: {_about(affine)}: leave out "
            + ("mean and std" if not affine.takes_levels else "scale and normalize, as a list of steps")
        )
