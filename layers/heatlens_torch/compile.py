"""Compile a model into a model folder: `trunk.onnx`, `tail.onnx`, and the `card.json` with their proof."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from heatlens.card import (
    CARD_FILE,
    DEFAULT_METHOD,
    Calibration,
    Card,
    FamiliarityReference,
    Graph,
    Layer,
    Parity,
    Sanity,
    write_card,
)
from heatlens.engines.base import Engine
from heatlens.engines.reciprocam import RERUN_BATCH
from heatlens.engines.timing import measure_cost
from heatlens.errors import CompileError, ModelFileError
from heatlens.explain.attribution import GRADIENT_FREE, METHOD_NAMES
from heatlens.types import Floats
from heatlens_torch.atomic_folder import replace_folder
from heatlens_torch.batch_size import limit_batch
from heatlens_torch.graph.export import export
from heatlens_torch.graph.graph_file import write_graph
from heatlens_torch.graph.grids import Layout
from heatlens_torch.graph.layers import default_target, resolve
from heatlens_torch.graph.probe import Probe, probe
from heatlens_torch.graph.quantize import check_quantizable
from heatlens_torch.loading import user_functions
from heatlens_torch.loading.described import Described, describe
from heatlens_torch.loading.network import build_network, images_of, sample_images, spare_images
from heatlens_torch.loading.saved_network import check_storable, store_network
from heatlens_torch.loading.spec import CALIBRATION_IMAGES, ModelSpec, read_training
from heatlens_torch.proof import calibration, familiarity, parity, precisions, recipro_parity, sanity
from heatlens_torch.proof.golden import make_golden
from heatlens_torch.proof.open_engine import open_engines
from heatlens_torch.proof.original_file import compare_with_original
from heatlens_torch.proof.owner_logits import compare_with_owner
from heatlens_torch.proof.parity import Proven

TRUNK_FILE = "trunk.onnx"
TAIL_FILE = "tail.onnx"


@dataclass(frozen=True, slots=True)
class _Cut:
    """A target layer: where the cells of its output lie, and its graphs."""

    layout: Layout
    trunk: Graph
    tail: Graph


def _silent(_stage: str) -> None:
    return None


def compile_model(
    what: Path | str,
    out: Path,
    *,
    options: Mapping[str, Any] | None = None,
    with_torch: bool = False,
    int8: bool = False,
    draft: bool = False,
    progress: Callable[[str], None] = _silent,
) -> Card:
    """Compile what an owner has into the folder `out`, and prove it.

    Args:
        what: A `model.toml`, the paths in which are relative to its folder; or a source, as `describe` takes it.
        out: Appears complete or not at all; an existing model folder is replaced only by a proven one.
        options: Values by the keys of a description, which override it.
        with_torch: Store the weights too, so that PyTorch can run the network itself.
        int8: Also write the trunks with 8-bit weights and activations.
        draft: Leave out the proof and all measurements; no server loads the result.
        progress: Called with a few words before each stage.

    Returns:
        The card as written.

    Raises:
        ModelError: `ModelFileError` for the description, its weights or functions, `CompileError` for the network,
            `ParityError` for a failed proof.
    """
    described = describe(what, options)
    return compile_described(described, out, with_torch=with_torch, int8=int8, draft=draft, progress=progress)


def compile_described(
    described: Described,
    out: Path,
    *,
    with_torch: bool = False,
    int8: bool = False,
    draft: bool = False,
    progress: Callable[[str], None] = _silent,
) -> Card:
    """Compile a complete description, as `compile_model` does."""
    spec, home = described.spec, described.home
    if draft:
        _check_draft(out, int8=int8)
    with user_functions.importable(home), replace_folder(out) as folder, described.located():
        card = _compile(spec, home, folder, progress, with_torch=with_torch, int8=int8, draft=draft)
        write_card(card, folder)
    return card


def _check_draft(out: Path, *, int8: bool) -> None:
    """Refuse a draft in 8 bits, which are measured against float32, and one in the place of a proven model."""
    if int8:
        raise CompileError("a draft has no precision but float32: leave out --int8 or --draft")
    try:
        there = json.loads((out / CARD_FILE).read_bytes())
    except (OSError, ValueError):
        return
    if isinstance(there, dict) and not there.get("draft"):
        raise ModelFileError(f"{out.name!r} is a proven model, which a draft does not replace: choose another folder")


def _compile(
    spec: ModelSpec,
    home: Path,
    folder: Path,
    progress: Callable[[str], None],
    *,
    with_torch: bool,
    int8: bool,
    draft: bool,
) -> Card:
    """Write the graphs into `folder` and return the card that belongs to them."""
    if with_torch:
        check_storable(spec)
    if int8:
        check_quantizable()
    progress("building the network")
    built = build_network(spec, home)
    reference = compare_with_owner(built.network, spec, home)
    # All synthetic images wait until the probes, which take much memory, are done: large ones take much too.
    further = images_of(spec) if spec.inputs and not draft else sample_images(spec)
    sample = torch.from_numpy(further[:2])
    probed = _probe_targets(built.network, spec, sample, progress)
    stored = store_network(spec, built, sample, folder) if with_torch else None
    training = read_training(home / spec.training) if spec.training else None
    progress(f"exporting, cut at {', '.join(probed)}")
    cuts = _write_graphs(built.network, probed, spec, folder)
    engines, refused_by = open_engines(folder, {name: (cut.trunk, cut.tail) for name, cut in cuts.items()})
    for words in refused_by.values():
        progress(f"taking ONNX Runtime: {words}")
        if int8:
            raise CompileError(f"an 8-bit trunk runs in OpenVINO alone: leave out --int8; {words}")
    if not (spec.inputs or draft):
        further = images_of(spec)
    images = further[:CALIBRATION_IMAGES]
    if draft:
        layers, combined = tuple(_draft_layer(name, cut) for name, cut in cuts.items()), None
    else:
        layers, combined = _prove(spec, built.network, cuts, engines, images, further, progress)
    card = Card(
        name=spec.name,
        version=spec.version,
        notice=spec.notice,
        classes=spec.labels,
        output=spec.output,
        preprocess=spec.preprocess,
        layers=layers,
        gradients=spec.gradients,
        draft=draft,
        refused_by=refused_by,
        methods=METHOD_NAMES if spec.gradients else GRADIENT_FREE,
        torch=stored,
        combined=combined,
        reference=reference,
        original=compare_with_original(built.original, engines[layers[0].name], images, spec.logits),
        training=training,
        evaluation=None if draft else calibration.evaluate(engines[layers[0].name], spec),
        source=built.source,
        made_with=calibration.made_with(),
    )
    if draft:
        return card
    progress("timing the passes")
    card = card.model_copy(update={"layers": tuple(_timed(layer, engines[layer.name], card) for layer in layers)})
    progress("measuring lower precisions")
    return precisions.measure(folder, card, images, spec, int8=int8)


def _timed(layer: Layer, engine: Engine, card: Card) -> Layer:
    batch = limit_batch(RERUN_BATCH, *card.preprocess.shape)
    return layer.model_copy(update={"cost": measure_cost(engine, card, batch)})


def _probe_targets(
    network: nn.Module, spec: ModelSpec, sample: torch.Tensor, progress: Callable[[str], None]
) -> dict[str, Probe]:
    """Probe each target layer, by default the last one that fits, before the minutes of exporting."""
    shape, channels = spec.preprocess.shape, spec.preprocess.channels
    layouts = {}
    if spec.layers:
        given = spec.layers
        names = [resolve(network, name, shape, channels=channels) for name in given]
    else:  # the default makes its output itself
        name, layout = default_target(network, shape, channels=channels, gradients=spec.gradients)
        given, names, layouts = (name,), [name], {name: layout}
    for name in names:
        if names.count(name) > 1:
            raise CompileError(f"layer: {name!r} is named twice")
    for name, maker in zip(given, names, strict=True):
        if maker != name:
            progress(f"taking {maker!r}, whose output {name!r} returns")
    probed = {
        maker: probe(
            network,
            maker,
            sample,
            grid=spec.grid_of(name),
            class_tokens=spec.class_tokens,
            layout=layouts.get(maker),
            gradients=spec.gradients,
        )
        for name, maker in zip(given, names, strict=True)
    }
    _check_classes(spec, probed[names[0]])
    return probed


def _check_classes(spec: ModelSpec, probed: Probe) -> None:
    """Compare the class list with the number of logits."""
    if spec.output == "sigmoid" and len(spec.labels) != 2:
        raise ModelFileError("classes: a sigmoid model has exactly two, negative then positive")
    if probed.logits != spec.logits:
        raise ModelFileError(
            f"classes: {len(spec.labels)} names with output {spec.output!r} need {spec.logits} logits, "
            f"but the network answers {probed.logits}"
        )


def _write_graphs(network: nn.Module, probed: Mapping[str, Probe], spec: ModelSpec, folder: Path) -> dict[str, _Cut]:
    """Export the trunk and the tail of each layer; the files of the first have the plain names."""
    cuts = {}
    shape, channels = spec.preprocess.shape, spec.preprocess.channels
    exported = export(network, probed, shape, channels=channels, gradients=spec.gradients)
    for index, (name, graphs) in enumerate(zip(probed, exported, strict=True)):
        trunk, tail = (f"{Path(file).stem}.{index}.onnx" if index else file for file in (TRUNK_FILE, TAIL_FILE))
        cuts[name] = _Cut(
            probed[name].layout, write_graph(graphs.trunk, folder / trunk), write_graph(graphs.tail, folder / tail)
        )
    return cuts


def _prove(
    spec: ModelSpec,
    network: nn.Module,
    cuts: Mapping[str, _Cut],
    engines: Mapping[str, Engine],
    images: Floats,
    further: Floats,
    progress: Callable[[str], None],
) -> tuple[tuple[Layer, ...], float | None]:
    """Prove and check each layer on `images`, calibrate it on `further`.

    Returns:
        The layers, and the parity of their combined map.
    """
    layouts = {name: cut.layout for name, cut in cuts.items()}
    if spec.gradients:
        progress("comparing with pytorch-grad-cam")
        proven, combined = _compare(engines, network, layouts, images, spec)
    else:
        progress("comparing with one masked run per cell, since there are no gradients")
        tried = np.concatenate([images, spare_images(spec)])
        proven, combined = _compare_masked(engines, network, layouts, tried), None
    progress("comparing with random weights")
    sanities = {
        name: sanity.check(network, name, images, layout, gradients=spec.gradients, originals=proven[name].originals)
        for name, layout in layouts.items()
    }
    progress("calibrating and evaluating")
    layers = tuple(
        _layer(
            name,
            cut,
            proven[name].parity,
            sanities[name],
            calibration.calibrate(engines[name], spec, further),
            familiarity.measure(engines[name], spec, further),
        ).model_copy(update={"golden": make_golden(engines[name], spec.preprocess, spec.logits)})
        for name, cut in cuts.items()
    )
    return layers, combined


def _compare(
    engines: Mapping[str, Engine], network: nn.Module, layouts: Mapping[str, Layout], images: Floats, spec: ModelSpec
) -> tuple[dict[str, Proven], float | None]:
    """Compare each layer with pytorch-grad-cam, and where there are several their combined map too."""
    make_spare = partial(spare_images, spec)
    proven = {
        name: parity.prove(engines[name], network, name, images, layout, make_spare=make_spare)
        for name, layout in layouts.items()
    }
    if len(layouts) == 1:
        return proven, None
    kept = sorted(set.intersection(*(set(each.kept) for each in proven.values())))[: parity.COMBINED_INPUTS]
    tried = images if max(kept, default=0) < len(images) else np.concatenate([images, make_spare()])
    return proven, parity.prove_combined(engines, network, layouts, tried[kept], spec.logits)


def _compare_masked(
    engines: Mapping[str, Engine], network: nn.Module, layouts: Mapping[str, Layout], images: Floats
) -> dict[str, Proven]:
    """Compare the maps by Recipro-CAM of each layer with those by one masked run of the network per cell."""
    return {
        name: recipro_parity.prove(engines[name], network, name, images, layout) for name, layout in layouts.items()
    }


def _draft_layer(name: str, cut: _Cut) -> Layer:
    return Layer(name=name, shape=cut.layout.shape, tokens=cut.layout.tokens, trunk=cut.trunk, tail=cut.tail)


def _layer(
    name: str,
    cut: _Cut,
    proof: Parity,
    dependence: Sanity | None,
    calibrations: Mapping[str, Calibration],
    reference: FamiliarityReference | None,
) -> Layer:
    return Layer(
        name=name,
        shape=cut.layout.shape,
        tokens=cut.layout.tokens,
        trunk=cut.trunk,
        tail=cut.tail,
        parity=proof,
        calibration=calibrations.get(DEFAULT_METHOD),
        calibrations={method: found for method, found in calibrations.items() if method != DEFAULT_METHOD},
        familiarity=reference,
        sanity=dependence,
    )
