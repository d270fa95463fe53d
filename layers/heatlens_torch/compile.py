"""`model.toml` -> a model folder: `trunk.onnx`, `tail.onnx` and the `card.json` that proves them."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from heatlens.card import DEFAULT_METHOD, Card, Layer, Parity, write_card
from heatlens.engines.base import Engine
from heatlens.engines.openvino import OpenVinoEngine
from heatlens.errors import CompileError, ModelFileError
from heatlens.explain.attribution import METHOD_NAMES
from heatlens.types import Floats
from heatlens_torch.atomic_folder import whole
from heatlens_torch.graph.export import Exported, export
from heatlens_torch.graph.graph_file import write_graph
from heatlens_torch.graph.grids import Layout
from heatlens_torch.graph.layers import default_layer
from heatlens_torch.graph.probe import Probe, probe
from heatlens_torch.graph.quantize import check_quantisable
from heatlens_torch.loading import user_functions
from heatlens_torch.loading.network import images_of, material_of, proof_images
from heatlens_torch.loading.saved_network import check_storable, store_network
from heatlens_torch.loading.spec import ModelSpec, located, read_spec, read_training
from heatlens_torch.proof import calibration, parity, precisions, sanity

TRUNK_FILE = "trunk.onnx"
TAIL_FILE = "tail.onnx"

# The engine wants a card before the proof can exist; infinities cannot be written, so this one never leaves by mistake.
_UNPROVEN = Parity(
    inputs=1,
    nonempty=0,
    signed_map=math.inf,
    gradient=math.inf,
    logits=math.inf,
    threshold=parity.THRESHOLD,
    reference="none yet",
)


def _silent(_stage: str) -> None:
    return None


def compile_model(
    spec_path: Path,
    out: Path,
    *,
    with_torch: bool = False,
    int8: bool = False,
    progress: Callable[[str], None] = _silent,
) -> Card:
    """Compile the model that `spec_path` describes into the folder `out`, and prove it.

    Args:
        spec_path: A `model.toml`; the paths in it are relative to its folder.
        out: Appears whole or not at all; an existing model folder is replaced only by a proven one.
        with_torch: Store the weights too, so that PyTorch can run the network itself.
        int8: Write the trunks with weights and activations of 8 bits too.
        progress: Called with a few words before each stage.

    Returns:
        The card as written.

    Raises:
        ModelError: `ModelFileError` for the description, its weights or functions, `CompileError` for the network,
            `ParityError` for a failed proof, `EngineError` where OpenVINO cannot execute the graphs.
    """
    spec = read_spec(spec_path)
    with user_functions.importable(spec_path.parent), whole(out) as folder, located(spec_path):
        card = _compile(spec, spec_path.parent, folder, progress, with_torch=with_torch, int8=int8)
        write_card(card, folder)
    return card


def _compile(
    spec: ModelSpec, home: Path, folder: Path, progress: Callable[[str], None], *, with_torch: bool, int8: bool
) -> Card:
    """Write the graphs into `folder` and return the card that belongs to them."""
    if with_torch:
        check_storable(spec)
    if int8:
        check_quantisable()
    progress("building the network")
    material = material_of(spec, home)
    network = material.network
    images = images_of(spec)
    names = spec.layers or (default_layer(network, spec.preprocess.shape),)
    for name in names:
        if names.count(name) > 1:
            raise CompileError(f"layer: {name!r} is named twice")
    some = torch.from_numpy(images[:2])
    probed = {
        name: probe(network, name, some, grid=spec.grid_of(name), class_tokens=spec.class_tokens) for name in names
    }
    _check_classes(spec, probed[names[0]])
    stored = store_network(spec, material, some, folder) if with_torch else None
    training = read_training(home / spec.training) if spec.training else None
    progress(f"exporting, cut at {', '.join(names)}")
    exported = export(network, probed, spec.preprocess.shape)
    layers = [
        _layer(name, probed[name], graphs, folder, index)
        for index, (name, graphs) in enumerate(zip(names, exported, strict=True))
    ]
    draft = _draft(spec, layers)
    progress("comparing with pytorch-grad-cam")
    engines = {name: OpenVinoEngine(folder, draft, layer=name) for name in names}
    layouts = {name: seen.layout for name, seen in probed.items()}
    proven, together = _proven(engines, network, layers, layouts, proof_images(spec, images), draft.logits)
    progress("comparing with random weights")
    proven = [
        layer.model_copy(update={"sanity": sanity.check(network, layer.name, images, probed[layer.name].layout)})
        for layer in proven
    ]
    progress("calibrating and evaluating")
    if spec.inputs:
        proven = [_calibrated(layer, engines[layer.name], draft, images) for layer in proven]
    compiled = draft.model_copy(
        update={
            "layers": tuple(proven),
            "combined": together,
            "evaluation": calibration.evaluation(engines[names[0]], draft, spec.evaluation)
            if spec.evaluation
            else None,
            "training": training,
            "torch": stored,
            "source": material.source,
            "made_with": calibration.made_with(),
        }
    )
    progress("measuring lower precisions")
    return precisions.measured(folder, compiled, images, spec, int8=int8)


def _proven(
    engines: Mapping[str, Engine],
    network: nn.Module,
    layers: Sequence[Layer],
    layouts: Mapping[str, Layout],
    images: Floats,
    logits: int,
) -> tuple[list[Layer], float | None]:
    """The layers, each with its proof, and where they are several how far all of them combined are from the referee."""
    proven, kept = [], set(range(len(images)))
    for layer in layers:
        found, compared = parity.prove(engines[layer.name], network, layer.name, images, layouts[layer.name])
        proven.append(layer.model_copy(update={"parity": found}))
        kept &= set(compared)
    if len(layers) == 1:
        return proven, None
    several = images[sorted(kept)[: parity.COMBINED_INPUTS]]
    return proven, parity.prove_combined(engines, network, layouts, several, logits)


def _check_classes(spec: ModelSpec, probed: Probe) -> None:
    """Tell a wrong class list before the minutes of exporting."""
    if spec.output == "sigmoid" and len(spec.labels) != 2:
        raise ModelFileError("classes: a sigmoid model has exactly two, negative then positive")
    expected = 1 if spec.output == "sigmoid" else len(spec.labels)
    if probed.logits != expected:
        raise ModelFileError(
            f"classes: {len(spec.labels)} names with output {spec.output!r} need {expected} logits, "
            f"but the network answers {probed.logits}"
        )


def _draft(spec: ModelSpec, layers: Sequence[Layer]) -> Card:
    return Card(
        name=spec.name,
        version=spec.version,
        notice=spec.notice,
        classes=spec.labels,
        output=spec.output,
        preprocess=spec.preprocess,
        layers=tuple(layers),
        methods=METHOD_NAMES,
    )


def _layer(name: str, probed: Probe, exported: Exported, folder: Path, index: int) -> Layer:
    """Write the graphs of a layer, the first under the plain names."""
    trunk, tail = (folder / (f"{Path(file).stem}.{index}.onnx" if index else file) for file in (TRUNK_FILE, TAIL_FILE))
    return Layer(
        name=name,
        shape=probed.shape,
        tokens=probed.layout.tokens,
        trunk=write_graph(exported.trunk, trunk),
        tail=write_graph(exported.tail, tail),
        parity=_UNPROVEN,
    )


def _calibrated(layer: Layer, engine: Engine, card: Card, images: Floats) -> Layer:
    others = calibration.calibrations(engine, card, images)
    return layer.model_copy(update={"calibration": others.pop(DEFAULT_METHOD), "calibrations": others})
