"""Describe a model description or a compiled model folder, line by line."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from heatlens.card import CARD_FILE, DRAFT, Card, Preprocess, read_card
from heatlens.steps import COLORS, Step


def facts(what: str | Path, options: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Yield the facts of a compiled folder, or the candidate layers of a description or a source.

    Raises:
        HeatlensError: The folder or the description cannot be used.
        ModuleNotFoundError: The extra torch, which a description needs, is not installed.
    """
    path = Path(what)
    if (path / CARD_FILE).is_file():
        yield from _card_facts(*read_card(path))
        yield f"golden      {_golden(path)}"
    else:
        yield from _description_facts(what, options)


def proven(card: Card) -> Iterator[str]:
    """Yield the parity of each layer, and of all layers combined if there are several; of a draft that it has none."""
    if card.draft:
        yield DRAFT
        return
    for layer in card.layers:
        proof = card.proof_of(layer)
        gradient = "" if proof.gradient is None else f"gradient {proof.gradient:.1e}, "
        aside = f" ({proof.undecided} set aside)" if proof.undecided else ""
        yield (
            f"{layer.name} equals {proof.reference} on {proof.inputs} inputs{aside}, {proof.nonempty} with a map: "
            f"signed map {proof.signed_map:.1e}, {gradient}logits {proof.logits:.1e} "
            f"(at most {proof.threshold:.0e})"
        )
    if (found := card.original) is not None:
        squashed = f", after its {found.end} {found.answers:.1e}" if found.answers is not None else ""
        yield (
            f"the file in {found.engine} on {found.images} inputs: logits {found.logits:.1e}{squashed} "
            f"(at most {found.threshold:.0e})"
        )
    if card.combined is not None:
        yield f"combined, all {len(card.layers)} layers: {card.combined:.1e} (at most {card.parity.threshold:.0e})"


def _golden(folder: Path) -> str:
    """Load the model and say how its explanation of the golden image compares with the card's here."""
    from heatlens.model import load_model

    model = load_model(folder, drafts=True)
    return f"{model.golden.status}, {model.engine.name} in {model.engine.precision}: {model.golden.reason}"


def _card_facts(card: Card, sha256: str) -> Iterator[str]:
    yield f"{card.name} {card.version}  sha256 {sha256}"
    yield from _common(card.output, card.classes, card.preprocess)
    for layer in card.layers:
        yield f"layer       {layer.name}  {_grid(layer.shape)}"
    yield f"methods     {', '.join(card.methods)}"
    if not card.gradients:
        yield f"gradients   none, as declared: the default method is {card.default_method}"
    yield from (f"refused by  {engine}: {reason}" for engine, reason in card.refused_by.items())
    yield from (f"proven      {line}" for line in proven(card))
    yield from _reference(card)
    yield from agreements(card)
    yield from calibrations(card)
    yield from familiarity(card)
    yield from sanity(card)
    yield from (f"{key:<11} {value}" for key, value in card.source.items())
    yield f"torch       {card.torch.file if card.torch else 'not stored (compile --with-torch stores it)'}"
    yield f"made with   {', '.join(f'{tool} {version}' for tool, version in card.made_with.items())}"
    if card.notice:
        yield f"notice      {card.notice}"


def _reference(card: Card) -> Iterator[str]:
    if (found := card.reference) is not None:
        within = f"{found.difference:.1g} of the largest (allowed {found.tolerance:g})"
        yield f"reference   the owner's logits differ by {within}"


def agreements(card: Card) -> Iterator[str]:
    """Yield the measured agreement of each lower precision with float32, at the default layer."""
    for precision, found in card.layers[0].agreements.items():
        yield (
            f"{precision:<11} correlation {found.correlation:.4f} (least {found.least_correlation:.4f}), "
            f"same maximum {found.same_maximum:.0%}, within a cell {found.pointing:.0%}, "
            f"same class {found.top1_kept:.0%} of {found.images} images: {found.engine}"
        )


def calibrations(card: Card) -> Iterator[str]:
    """Yield the calibration of each layer, which makes maps of different images comparable."""
    for layer in card.layers:
        found = layer.calibration_of(card.default_method)
        if found is None:
            yield f"calibration none of {layer.name}: no absolute scale (inputs in the description make one)"
            continue
        peaks = found.peak_percentiles
        others = [method for method in layer.calibrations if method != card.default_method]
        yield (
            f"calibration {layer.name}: peaks of {card.default_method} on {found.images} images, "
            + ", ".join(f"{peaks[at]:.3g} ({at} %)" for at in ("5", "50", "99") if at in peaks)
            + (f"; also of {', '.join(others)}" if others else "")
        )
        for label, own in found.classes.items():
            floor = "no floor" if own.floor is None else f"weak under {own.floor:.3g}"
            yield f"calibration {layer.name}: {label}: {floor}, on {own.images} images"


def familiarity(card: Card) -> Iterator[str]:
    """Yield for each layer how well inputs of another kind are told from the calibration images."""
    for layer in card.layers:
        found = layer.familiarity
        if found is None:
            yield f"familiarity none of {layer.name}: inputs are not compared (inputs in the description do it)"
            continue
        missed = ", ".join(f"{kind} {share:.0%}" for kind, share in found.unfamiliar.items() if share < 1)
        verdict = f"not all unfamiliar: {missed}" if missed else "all unfamiliar"
        yield (
            f"familiarity {layer.name}: {found.features} features of {found.images} images, AUROC {found.auroc:.4f} "
            f"against {found.strange} computed ones, {verdict}"
        )


def sanity(card: Card) -> Iterator[str]:
    """Yield for each tested layer whether its maps depend on the trained weights."""
    for layer in card.layers:
        if layer.sanity is None:
            continue
        found, last = layer.sanity, layer.sanity.stages[-1]
        verdict = "sensitive" if found.sensitive else "WARNING: hardly depends on what the network has learnt"
        yield (
            f"sanity      {layer.name}: {verdict}: with {last.layers} of {found.layers} layers random, maps correlate "
            f"{last.signed:.2f}, in absolute value {last.absolute:.2f} (under "
            f"{found.threshold:g} is sound), on {found.images} images"
        )


def _description_facts(what: str | Path, options: Mapping[str, Any] | None) -> Iterator[str]:
    from heatlens_torch.loading.described import describe

    described = describe(what, options)  # before torch is loaded
    from heatlens_torch.inspection import inspect_described

    found = inspect_described(described)
    spec = found.described.spec
    yield f"{spec.name} {spec.version}"
    yield from _common(spec.output, spec.classes, spec.preprocess)
    yield from (f"found       {line}" for line in found.described.lines())
    yield from (f"{key:<11} {value}" for key, value in found.source.items())
    width = max((len(layer.name) for layer in found.layers), default=0)
    for layer in found.layers:
        chosen = spec.layers or (found.layers[-1].name,)
        mark = "*" if layer.name in chosen else " "
        yield f"layer     {mark} {layer.name:<{width}}  {_grid(layer.shape):<14} {layer.kind}"
    yield from (f"passed over {each.name}: {each.reason}" for each in found.passed if each.late)
    if not spec.gradients:
        yield "gradients   none, as declared: maps by reciprocam"
    yield "* is compiled; name another, or several, as layer"


def _common(output: str, classes: tuple[str, ...], preprocess: Preprocess) -> Iterator[str]:
    some = ", ".join(classes[:3]) + (f" and {len(classes) - 3} more" if len(classes) > 3 else "")
    yield f"output      {output}: {some}"
    height, width = preprocess.shape
    depth = "" if preprocess.channels == COLORS else f" x {preprocess.channels}"
    yield f"input       {height} x {width}{depth}: {_how(preprocess)}"


def _how(preprocess: Preprocess) -> str:
    if preprocess.steps is None:
        return f"resize {preprocess.resize}, crop {preprocess.crop}, {preprocess.interpolation}"
    return ", ".join(" ".join(_words(step)) for step in preprocess.steps)


def _words(step: Step) -> Iterator[str]:
    """Say what a step does: its name, and the fields that were given."""
    for key, value in step.model_dump(exclude_unset=True).items():
        shown = " x ".join(map(str, value)) if isinstance(value, tuple) and key in ("size", "tiles") else value
        yield str(shown) if key in ("step", "size", "fit", "library", "interpolation") else f"{key} {shown}"


def _grid(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{channels} x {height} x {width}"
