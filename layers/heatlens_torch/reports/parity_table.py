"""Write layers/PARITY.md, each architecture compiled alone: `python -m heatlens_torch.reports.parity_table`."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from heatlens.card import Card
from heatlens.engines.peak_memory import peak_mib
from heatlens.errors import ModelError
from heatlens_torch.proof import calibration
from heatlens_torch.reports.family_rows import grid_text

OUT = Path(__file__).parents[2] / "PARITY.md"
ROW_SECONDS = 1800
Key = tuple[str, tuple[str, ...]]
COLUMNS = (
    *("architecture", "input", "layer", "grid", "map", "gradient", "logits", "non-empty", "aside", "combined"),
    *("seconds", "MB"),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """An architecture to compile from seeded weights; no layer means the compiler's own choice."""

    architecture: str
    layers: tuple[str, ...] = ()
    pixels: int = 64
    arguments: dict[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the architecture's name without the scheme."""
        return self.architecture.rpartition(":")[2]

    @property
    def key(self) -> Key:
        """Return what identifies the subject."""
        return self.architecture, self.layers


def _torchvision(name: str, *layers: str, pixels: int = 64, **arguments: object) -> Subject:
    return Subject(f"torchvision:{name}", layers, pixels, arguments)


SUBJECTS = (
    _torchvision("resnet18", "layer4", "layer3", "layer2"),
    _torchvision("vit_b_16", image_size=64),
    _torchvision("googlenet"),
    _torchvision("mobilenet_v3_small", "features", "features.8"),
    _torchvision("regnet_y_400mf"),
    _torchvision("mnasnet0_5"),
    _torchvision("shufflenet_v2_x0_5"),
    _torchvision("squeezenet1_1"),
    _torchvision("mobilenet_v2"),
    _torchvision("swin_t"),
    _torchvision("vgg11"),
    _torchvision("densenet121", "features"),
    _torchvision("densenet121", "features.transition3"),
    _torchvision("densenet121", "features.transition2"),  # one by one: a refused layer refuses the whole model
    _torchvision("efficientnet_b0", "features", "features.5"),
    _torchvision("convnext_tiny", "features", "features.5"),
    _torchvision("inception_v3", pixels=128, transform_input=True),
    _torchvision("efficientnet_v2_s"),
    _torchvision("resnext50_32x4d"),
    Subject("litresnet-enhanced", ("features.7",)),
    _torchvision("vgg11_bn", "features", "features.14"),
    _torchvision("resnet50"),
    _torchvision("vgg16"),
    _torchvision("alexnet"),
    _torchvision("swin_v2_t", pixels=64),
    _torchvision("maxvit_t", pixels=224),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile the named architectures, by default all, and write the table after every row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="architectures; all by default")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--rows", type=Path, help="file of finished rows: what is in it is not run again")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    subjects = [subject for subject in SUBJECTS if not options.names or subject.name in options.names]
    if options.one is not None:
        print(json.dumps(run(SUBJECTS[options.one])))
        return
    done = _read(options.rows)
    for subject in subjects:
        if subject.key not in done:
            print(f"compiling {' '.join((subject.name, *subject.layers))}", flush=True)
            done[subject.key] = _row(subject)
            _append(options.rows, done[subject.key])
        text = render([done[each.key] for each in subjects if each.key in done])
        options.out.write_text(text, encoding="utf-8")
    print(text)


def run(subject: Subject) -> dict[str, object]:
    """Compile one subject in this process; return its seconds, the peak memory, and the proof or the refusal."""
    from heatlens_torch.compile import compile_model

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.toml"
        path.write_text(description(subject), encoding="utf-8")
        try:
            found = _proof(compile_model(path, Path(scratch) / "out"))
        except ModelError as refused:
            found = {"refused": str(refused)}
    cost = {"seconds": time.perf_counter() - start, "megabytes": peak_mib()}
    return asdict(subject) | {"name": subject.name} | cost | found


def render(rows: Sequence[dict[str, object]]) -> str:
    """Write the table as Markdown."""
    versions = ", ".join(f"{tool} {release}" for tool, release in calibration.made_with().items())
    lines = [
        "# Parity with pytorch-grad-cam",
        "",
        "Written by `make parity`; do not edit. Seeded weights, 32 synthetic images each, every graph run in OpenVINO",
        "in float32. Differences are max |difference| / max |value| of the signed map before ReLU and of the gradient",
        "(the worst image), and of the logits; `combined` is the largest difference of the combined map of the layers,",
        "in 0..1. Allowed are 1e-4, and at least 29 of 32 maps with positive evidence. `aside` counts further images,",
        "of which pytorch-grad-cam's own explanation moves as far by rounding alone (decision 3). Seconds and peak",
        "memory are of the whole compilation (export, engine, proof) in a process of its own on a busy machine: orders",
        "of magnitude.",
        "",
        f"Made with {versions}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    lines += [line for row in rows for line in _lines(row)]
    refused = [f"- **{row['name']}**, {_requested_layers(row)}: {row['refused']}" for row in rows if "refused" in row]
    lines += ["", "## Refused", "", *refused] if refused else []
    return "\n".join(lines) + "\n"


def _lines(row: dict[str, object]) -> list[str]:
    cost = f"{row['seconds']:.0f} | {row['megabytes']:.0f} |"
    if "refused" in row:
        return [f"| {row['name']} | {row['pixels']} | {_requested_layers(row)} | refused | | | | | | | {cost}"]
    lines = []
    for index, layer in enumerate(row["proof"]):  # type: ignore[arg-type, var-annotated]
        first = index == 0
        together = f"{row['combined']:.1e}" if first and row["combined"] is not None else ""
        cells = [
            str(row["name"]) if first else "",
            str(row["pixels"]) if first else "",
            f"`{layer['name']}`",
            layer["grid"],
            *(f"{layer[key]:.1e}" for key in ("map", "gradient", "logits")),
            str(layer["nonempty"]),
            str(layer["undecided"] or ""),
            together,
        ]
        lines.append(f"| {' | '.join(cells)} | {cost if first else '| |'}")
    return lines


def _requested_layers(row: dict[str, object]) -> str:
    return ", ".join(f"`{layer}`" for layer in row["layers"]) or "chosen"  # type: ignore[attr-defined]


def _proof(card: Card) -> dict[str, object]:
    return {
        "combined": card.combined,
        "proof": [
            {
                "name": layer.name,
                "grid": grid_text(layer.shape, layer.tokens),
                "map": proof.signed_map,
                "gradient": proof.gradient,
                "logits": proof.logits,
                "nonempty": proof.nonempty,
                "undecided": proof.undecided,
            }
            for layer in card.layers
            for proof in [card.proof_of(layer)]
        ],
    }


def description(subject: Subject) -> str:
    """Write the `model.toml` of a subject."""
    single = subject.architecture == "litresnet-enhanced"
    lines = ['name = "parity"', 'version = "1"', f'architecture = "{subject.architecture}"', 'weights = "seed:0"']
    lines.append('classes = ["NORMAL", "PNEUMONIA"]' if single else 'classes = "imagenet"')
    lines.append(f'output = "{"sigmoid" if single else "softmax"}"')
    lines += [f"layer = {json.dumps(subject.layers)}"] if subject.layers else []
    lines += ["[arguments]", *[f"{key} = {json.dumps(value)}" for key, value in subject.arguments.items()]]
    lines += ["[preprocess]", f"resize = [{subject.pixels}, {subject.pixels}]"]
    lines += ["mean = [0.485, 0.456, 0.406]", "std = [0.229, 0.224, 0.225]"]
    return "\n".join(lines) + "\n"


def _row(subject: Subject) -> dict[str, object]:
    """Compile in a separate process, to measure its peak memory; a process that dies gets a row too."""
    command = [sys.executable, "-m", "heatlens_torch.reports.parity_table", "--one", str(SUBJECTS.index(subject))]
    died = asdict(subject) | {"name": subject.name, "seconds": float(ROW_SECONDS), "megabytes": 0.0}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ROW_SECONDS)  # noqa: S603 - ourselves
    except subprocess.TimeoutExpired:
        return died | {"refused": f"not done after {ROW_SECONDS} seconds"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return died | {"seconds": 0.0, "refused": f"the compiler failed: {last}"}
    row: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return row


def _read(path: Path | None) -> dict[Key, dict[str, object]]:
    if path is None or not path.exists():
        return {}
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {(row["architecture"], tuple(row["layers"])): row for row in rows}


def _append(path: Path | None, row: dict[str, object]) -> None:
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
