"""Write layers/FAMILIES.md, timm's families at their default layers: `make families`.

The stages are those of `compile`: build, choose the layer, export, execute, compare. What has no part in the question
is left out: calibration, random weights, timing, lower precisions.
"""

import argparse
import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from heatlens.card import Parity, Preprocess
from heatlens_torch.graph.layers import default_layer
from heatlens_torch.graph.probe import Probe, probe
from heatlens_torch.loading.network import build_network, images_of
from heatlens_torch.loading.spec import ModelSpec
from heatlens_torch.proof import calibration
from heatlens_torch.reports.families import FAMILIES, Family
from heatlens_torch.reports.family_rows import SEEDS, append, grid_text, has_evidence, prove, quiet, read, refusal_text

OUT = Path(__file__).parents[2] / "FAMILIES.md"
CLASSES = ("one", "two", "three", "four")
BAR = 0.95  # of the families compile at the default layer with parity
COLUMNS = ("family", "architecture", "input", "layer", "grid", "map", "gradient", "logits")


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a family: its layer and differences, or why it is refused."""

    architecture: str
    layer: str = ""
    grid: str = ""
    map: float = math.nan
    gradient: float = math.nan
    logits: float = math.nan
    refused: str = ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile the named architectures, by default all, and write the table after every row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="architectures; all by default")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument(
        "--rows", type=Path, required=True, help="file of finished rows: what is in it is not run again"
    )
    options = parser.parse_args(arguments)
    done = read(options.rows, Row, "architecture")
    for family in FAMILIES:
        if family.architecture not in done and (not options.names or family.architecture in options.names):
            print(f"compiling {family.architecture}", flush=True)
            done[family.architecture] = run(family)
            append(options.rows, done[family.architecture])
            options.out.write_text(render(done), encoding="utf-8")
            gc.collect()
    options.out.write_text(render(done), encoding="utf-8")
    print(summary(done))


def run(family: Family) -> Row:
    """Compile one family; a refusal, and an error that should have been one, become a row too."""
    try:
        layer, probed, proof = compile_family(family)
    except Exception as error:  # the table shows what is no refusal
        return Row(family.architecture, refused=refusal_text(error))
    return Row(
        architecture=family.architecture,
        layer=layer,
        grid=grid_text(probed.shape, probed.layout.tokens),
        map=proof.signed_map,
        gradient=math.nan if proof.gradient is None else proof.gradient,  # maps without gradients have none
        logits=proof.logits,
    )


def compile_family(family: Family) -> tuple[str, Probe, Parity]:
    """Compile a family at its default layer and compare it with pytorch-grad-cam.

    Raises:
        ModelError: As `compile_model`.
    """
    for seed in range(SEEDS):
        spec = spec_of(family, seed)
        network = build_network(spec, Path()).network
        images = images_of(spec)
        layer = default_layer(network, spec.preprocess.shape)
        probed = probe(network, layer, torch.from_numpy(images[:2]))
        if has_evidence(network, layer, probed, images):
            break
    return layer, probed, prove(network, layer, probed, images)


def spec_of(family: Family, seed: int = 0) -> ModelSpec:
    """Describe a family: few classes, seeded weights."""
    size = (family.pixels, family.pixels)
    return ModelSpec(
        name=family.architecture,
        architecture=f"timm:{family.architecture}",
        arguments={"num_classes": len(CLASSES)} | family.arguments,
        weights=f"seed:{seed}",
        classes=CLASSES,
        output="softmax",
        preprocess=Preprocess(resize=size, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    )


def summary(rows: dict[str, Row]) -> str:
    """Say how many families compile, against the bar."""
    known = [rows[family.architecture] for family in FAMILIES if family.architecture in rows]
    compiled = sum(not row.refused for row in known)
    share = compiled / max(1, len(known))
    text = f"{compiled} of {len(known)} compile at the default layer with parity: {share:.1%}; the bar is {BAR:.0%}."
    missing = len(FAMILIES) - len(known)
    return f"{text}\n{missing} families of the list have not been run yet." if missing else text


def render(rows: dict[str, Row]) -> str:
    """Write the table as Markdown."""
    versions = calibration.made_with() | {"timm": version("timm")}
    lines = [
        "# Families of timm",
        "",
        "Written by `make families`; do not edit. One small network of each family, with seeded weights, explained at",
        "the layer that `compile` chooses by itself. Map, gradient and logits are compared with pytorch-grad-cam of",
        "the original network as in [PARITY.md](PARITY.md), on 12 synthetic images in batches of 1, 3 and 8. Of five",
        "seeds the first is taken whose maps have positive evidence. Some networks have fewer blocks than their name",
        "says: see [the list](heatlens_torch/reports/families.py).",
        "",
        summary(rows),
        "",
        f"Made with {', '.join(f'{tool} {release}' for tool, release in versions.items())}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    known = [(family, rows[family.architecture]) for family in FAMILIES if family.architecture in rows]
    lines += [_line(family, row) for family, row in known]
    refused = [f"- **{row.architecture}**: {row.refused}" for _, row in known if row.refused]
    return "\n".join([*lines, *(["", "## Refused", "", *refused] if refused else [])]) + "\n"


def _line(family: Family, row: Row) -> str:
    if row.refused:
        cells = ["refused", *[""] * 4]
    else:
        cells = [f"`{row.layer}`", row.grid, *(f"{each:.1e}" for each in (row.map, row.gradient, row.logits))]
    cells = [family.name, family.architecture, str(family.pixels), *cells]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    quiet()
    main()
