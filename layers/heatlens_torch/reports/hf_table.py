"""Write layers/HUGGING-FACE.md, the classifiers of transformers at their default layers: `make hugging-face`.

Each is saved by `save_pretrained` and compiled from its folder. The stages are those of `compile`: read, build, choose
the layer, export, execute, compare. Calibration, random weights, timing and lower precisions are left out.
"""

import argparse
import json
import math
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heatlens_torch.graph.layers import default_layer
from heatlens_torch.graph.probe import probe
from heatlens_torch.loading.described import describe
from heatlens_torch.loading.network import build_network, images_of
from heatlens_torch.loading.synthetic import settle
from heatlens_torch.proof import calibration
from heatlens_torch.reports.family_rows import SEEDS, append, grid_text, has_evidence, prove, quiet, read, refusal_text
from heatlens_torch.reports.hf_families import HF_FAMILIES, LEFT_OUT, HfFamily

OUT = Path(__file__).parents[2] / "HUGGING-FACE.md"
CLASSES = 100  # of many classes the predicted one has positive evidence, though the weights are drawn at random
BAR = 0.9  # of the families compile at the default layer with parity
WIDTH = 110  # of lines in Markdown
COLUMNS = ("family", "layer", "grid", "map", "gradient", "logits", "seconds")


@dataclass(frozen=True, slots=True)
class HfRow:
    """What became of a family: its layer and differences, or why it is refused."""

    model_type: str
    seconds: float
    layer: str = ""
    grid: str = ""
    map: float = math.nan
    gradient: float = math.nan
    logits: float = math.nan
    refused: str = ""

    @property
    def finished(self) -> bool:
        """Tell whether more than the layer is known."""
        return bool(self.refused) or not math.isnan(self.map)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile the named families, by default all, and write the table after every row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="model types; all by default")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--choose", action="store_true", help="only choose the layers, which takes minutes")
    parser.add_argument("--rows", type=Path, required=True, help="finished rows: what is in this file is not run again")
    options = parser.parse_args(arguments)
    done = read(options.rows, HfRow, "model_type")
    known = {family.model_type: family for family in HF_FAMILIES}
    for name in options.names or known:
        if name not in done or not (options.choose or done[name].finished):
            print(f"compiling {name}", flush=True)
            done[name] = run(known[name], compiles=not options.choose)
            append(options.rows, done[name])
            options.out.write_text(render(done), encoding="utf-8")
    options.out.write_text(render(done), encoding="utf-8")
    print(summary(done))


def run(family: HfFamily, *, compiles: bool = True) -> HfRow:
    """Compile one family; a refusal, and an error that should have been one, become a row too."""
    start = time.perf_counter()
    try:
        return _compile(family, start, compiles=compiles)
    except Exception as error:  # the table shows what is no refusal
        return HfRow(family.model_type, time.perf_counter() - start, refused=refusal_text(error))


def _compile(family: HfFamily, start: float, *, compiles: bool) -> HfRow:
    proof = None
    for seed in range(SEEDS):
        with saved(family, seed) as folder:
            described = describe(f"hf:{folder}")
            network = build_network(described.spec, described.home).network
            images = images_of(described.spec)
            layer = default_layer(network, described.spec.preprocess.shape)
            probed = probe(network, layer, torch.from_numpy(images[:2]))
            if not compiles:
                break
            if has_evidence(network, layer, probed, images) or seed + 1 == SEEDS:
                proof = prove(network, layer, probed, images)
                break
    grid = grid_text(probed.shape, probed.layout.tokens)
    differences = (proof.signed_map, proof.gradient, proof.logits) if proof else ()
    return HfRow(family.model_type, time.perf_counter() - start, layer, grid, *differences)


@contextmanager
def saved(family: HfFamily, seed: int) -> Iterator[Path]:
    """Save a network of a family with `save_pretrained`, and a plain processor, into a folder until the block ends."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / family.model_type
        untrained(family, seed).save_pretrained(folder)
        size = {"height": family.pixels, "width": family.pixels}
        processor = {"image_processor_type": "ViTImageProcessor", "resample": 2, "size": size}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
        yield folder


def untrained(family: HfFamily, seed: int) -> Any:  # noqa: ANN401 - transformers is untyped
    """Build a network with seeded weights of usual sizes; transformers draws so small ones that maps would be flat."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    names = {index: f"class {index}" for index in range(CLASSES)}
    labels = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    config = AutoConfig.for_model(family.model_type, **family.fields, **labels)
    kind = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    torch.manual_seed(seed)
    network = (kind[0] if isinstance(kind, tuple) else kind)(config).eval()
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    with suppress(Exception):  # networks that take no images of this kind are left as they are
        settle(network, [torch.randn(16, 3, family.pixels, family.pixels) for _ in range(2)])
    return network


def summary(rows: dict[str, HfRow]) -> str:
    """Say how many families compile, against the bar, and of how many more only the layer is known."""
    known = [rows[family.model_type] for family in HF_FAMILIES if family.model_type in rows]
    finished = [row for row in known if row.finished]
    compiled = sum(not row.refused for row in finished)
    share = compiled / max(1, len(finished))
    others = len(known) - len(finished)
    return (
        f"{compiled} of {len(finished)} families that were compiled have parity at the default layer: {share:.0%}; the "
        f"bar is {BAR:.0%}." + (f" Of {others} more only the layer was chosen." if others else "")
    )


def render(rows: dict[str, HfRow]) -> str:
    """Write the table as Markdown."""
    versions = calibration.made_with() | {"transformers": version("transformers")}
    known = [rows[family.model_type] for family in HF_FAMILIES if family.model_type in rows]
    others = [family.model_type for family in HF_FAMILIES if family.model_type not in rows]
    lines = [
        "# Image classifiers of transformers",
        "",
        "Written by `make hugging-face`; do not edit. A small network of every image classifier of transformers, with",
        "seeded weights, is saved by `save_pretrained`, compiled from its folder (`hf:FOLDER`) and explained at the",
        "layer that `compile` chooses by itself. Map, gradient and logits are compared with pytorch-grad-cam of the",
        "original network as in [PARITY.md](PARITY.md), on 12 synthetic images in batches of 1, 3 and 8. Of five seeds",
        "the first is taken whose maps have positive evidence. Where the differences are empty only the layer was",
        "chosen. Preprocessing is the same for all: the processors have tests of their own. The untrained attention of",
        "LeViT mixes all cells: of its stages only the first follows the image.",
        "",
        *textwrap.wrap(summary(rows), WIDTH),
        "",
        *([f"Missing: {', '.join(others)}."] if others else []),
        *(f"- {name} is left out: it {reason}." for name, reason in LEFT_OUT.items()),
        "",
        *textwrap.wrap(f"Made with {', '.join(f'{tool} {release}' for tool, release in versions.items())}.", WIDTH),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    refused = [f"- **{row.model_type}**: {row.refused}" for row in known if row.refused]
    lines += map(_line, known)
    return "\n".join([*lines, *(["", "## Refused", "", *refused] if refused else [])]) + "\n"


def _line(row: HfRow) -> str:
    differences = [f"{each:.1e}" if row.finished else "" for each in (row.map, row.gradient, row.logits)]
    cells = ["refused", *[""] * 4] if row.refused else [f"`{row.layer}`", row.grid, *differences]
    return f"| {' | '.join([row.model_type, *cells, f'{row.seconds:.0f}'])} |"


if __name__ == "__main__":
    quiet()
    main()
