"""Compile what each owner has by the command line, explain the two photos with it, and write the table."""

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from heatlens import Explainer
from heatlens.card import read_card
from heatlens.types import Floats
from tests.owners.foreign import FOREIGN, refusal
from tests.owners.photos import CLASSES, HALF, pair
from tests.owners.saved import Owner
from tests.owners.trained import TRAINED, Seen, Trained, explain_photos
from tests.support.paths import HEATLENS, ROOT

COLUMNS = (
    "source",
    "saved by",
    "`heatlens compile …`",
    "lines",
    "given as options",
    "CPU s",
    "layer",
    "grid",
    "map",
    "logits",
    "on its half",
)
IN_PROJECT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "layers"), str(ROOT)])}
INTRODUCTION = """\
# What owners have

Written by `make owners`; do not edit. Each network is trained for seconds to tell the two photos of
scikit-learn apart, saved as its library saves it, and compiled by the command. `lines` are those that the
owner wrote for Heatlens. `given as options` is what the files do not have. `CPU s` are processor seconds of
the whole command, on one thread. `map` and `logits` are the largest relative differences from
pytorch-grad-cam (allowed: 1e-4).

The picture has the temple on the left and the flower on the right. `on its half` is the part of the positive
heat that lies on the class's own half, for the temple and for the flower: a map without meaning has 50 %, and
one without heat is `empty`. It measures the networks, which have seen two photos, and no more than that.
"""
EMPTY = "empty"
TRAINED_TEXT = """\
Two networks that packages carry as ONNX files, on photos of scikit-learn and scikit-image. The heat is that
of the class that the network names. `package` is the probability that the file gives in ONNX Runtime, with the
package's own preprocessing. A photo without print has no orientation, and the first network names one all the
same. Its evidence is spread over all print, so those maps are nearly even, and that of the upright page is
`weak`."""
SEEN_COLUMNS = ("network", "photo", "class", "probability", "package")
REFUSED = """\
Each is saved by its own library, if that is PyTorch, MLflow, torchxrayvision or OpenVINO. The others are files
that begin as those of the framework do. Nothing of them is run."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one owner; `halves` are the parts of positive heat on each class's own half, `None` without heat."""

    name: str
    release: str
    command: list[str]
    lines: int
    seconds: float
    printed: str
    layer: str
    grid: str
    signed_map: float
    logits: float
    halves: list[float | None]


def compile_owner(owner: Owner, folder: Path) -> Row:
    """Save, compile by the command line, and explain; the folder keeps all files.

    Raises:
        RuntimeError: The command failed; the message is what it printed.
    """
    folder.mkdir(parents=True)
    command = owner.save(folder)
    printed, seconds = run_compile(command, folder)
    layer = read_card(folder / "model")[0].layers[0]
    assert layer.parity is not None, "every network here has gradients"
    return Row(
        name=owner.name,
        release=owner.release,
        command=command,
        lines=sum(len((folder / name).read_text().splitlines()) for name in owner.written),
        seconds=seconds,
        printed=printed,
        layer=layer.name,
        grid="x".join(map(str, layer.shape[1:])),
        signed_map=layer.parity.signed_map,
        logits=layer.parity.logits,
        halves=explain_pair(folder),
    )


def run_compile(command: Sequence[str], folder: Path) -> tuple[str, float]:
    """Run `heatlens compile` in a folder, into its `model`: what it prints, and its processor seconds.

    Raises:
        RuntimeError: The command failed; the message is what it printed.
    """
    before = _seconds()
    done = subprocess.run(
        [str(HEATLENS), "compile", *command, "--out", "model"],
        cwd=folder,
        env=IN_PROJECT | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{folder.name}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    return done.stdout, _seconds() - before


def compile_trained(trained: Trained, folder: Path) -> list[Seen]:
    """Compile a package's network by the command, and explain its photos."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(trained.path, folder)
    run_compile([f"onnx:{trained.path.name}", *trained.options], folder)
    return explain_photos(trained, folder)


def explain_pair(folder: Path) -> list[float | None]:
    """Explain both classes on the two photos, draw them into `heat.png`, and return each class's heat on its half."""
    explained = Explainer.load(folder / "model").explain(pair(), target=CLASSES)
    shares = []
    sheet = Image.new("RGB", (2 * HALF * len(CLASSES), HALF))
    for index, each in enumerate(explained.explained):
        assert each.overlay is not None, "asked for"
        (folder / f"{each.label}.png").write_bytes(each.overlay.data)
        sheet.paste(Image.open(folder / f"{each.label}.png"), (2 * HALF * index, 0))
        shares.append(on_half(each.signed_map, right=each.label == CLASSES[1]))
    sheet.resize((sheet.width // 2, sheet.height // 2)).save(folder / "heat.png")
    return shares


def on_half(signed_map: Floats, *, right: bool) -> float | None:
    """Return the part of the positive heat of `[H,W]` on one half, `None` if there is no heat."""
    columns = np.maximum(signed_map, 0).sum(axis=0)
    if not columns.any():
        return None
    weights = np.clip(np.arange(1, len(columns) + 1) - len(columns) / 2, 0, 1)  # a middle column counts for both
    share = float((columns * weights).sum() / columns.sum())
    return share if right else 1 - share


def read_row(folder: Path) -> Row | None:
    """Read the row of an earlier run, `None` if there is none."""
    path = folder / "row.json"
    return Row(**json.loads(path.read_text())) if path.is_file() else None


def write_row(folder: Path, row: Row) -> None:
    """Keep a row, so that a further run need not repeat it."""
    (folder / "row.json").write_text(json.dumps(asdict(row)))


def refusals(folder: Path) -> dict[str, str]:
    """Make a file of every other framework, and return what is said of each."""
    shutil.rmtree(folder, ignore_errors=True)
    said = {}
    for name, make in FOREIGN.items():
        home = folder / name.replace(" ", "-")
        home.mkdir(parents=True, exist_ok=True)
        what = home / make(home)
        said[name] = refusal(str(what)).replace(f"{home}{os.sep}", "")
    return said


def render(rows: Sequence[Row], refused: dict[str, str], missing: Sequence[str] = (), seen: Sequence[Seen] = ()) -> str:
    """Write the page; `missing` are the owners that were not compiled, `seen` what trained networks say."""
    lines = [INTRODUCTION, f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in rows:
        halves = " and ".join(EMPTY if share is None else f"{share:.0%}" for share in row.halves)
        cells = [row.name, row.release, f"`{_shell(row.command)}`", str(row.lines), _said(row.command)]
        cells += [
            f"{row.seconds:.0f}",
            f"`{row.layer}`",
            row.grid,
            f"{row.signed_map:.1e}",
            f"{row.logits:.1e}",
            halves,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Not compiled in this run: {', '.join(missing)}."] if missing else []
    lines += ["", "![Temple and flower, explained by each of the networks](owners.png)", ""]
    lines += ["## What the command prints", "", "```text", rows[0].printed.strip(), "```", ""] if rows else []
    lines += [*_trained_section(seen)] if seen else []
    lines += ["## Refused", "", REFUSED, ""]
    lines += [f"- **{name}**: {sentence}" for name, sentence in refused.items()]
    return "\n".join(lines) + "\n"


def _trained_section(seen: Sequence[Seen]) -> Iterator[str]:
    yield from ("## Trained networks on photos", "", TRAINED_TEXT, "", "```console")
    for trained in TRAINED:
        yield f"heatlens compile onnx:{trained.path.name} {_shell(trained.options)}"
    yield from ("```", "", f"| {' | '.join(SEEN_COLUMNS)} |", f"|{'---|' * len(SEEN_COLUMNS)}")
    for each in seen:
        yield f"| {each.release} | {each.photo} | {each.label} | {each.probability:.3f} | {each.theirs:.3f} |"
    yield from ("", "![Photos, and below them the heat of the class that each network names](trained.jpg)", "")


def draw_trained(folders: Sequence[Path]) -> Image.Image:
    """Draw the photos of all trained networks below each other."""
    pictures = [Image.open(folder / "heat.png") for folder in folders]
    sheet = Image.new("RGB", (max(each.width for each in pictures), sum(each.height + 4 for each in pictures)), "white")
    top = 0
    for each in pictures:
        sheet.paste(each, (0, top))
        top += each.height + 4
    return sheet


def draw(rows: Sequence[Row], folder: Path) -> Image.Image:
    """Draw the heatmaps of all owners below each other, with their names."""
    height, width = HALF // 4, HALF
    sheet = Image.new("RGB", (width + 90, (height + 4) * len(rows)), "white")
    for index, row in enumerate(rows):
        top = index * (height + 4)
        ImageDraw.Draw(sheet).text((2, top + height // 2 - 6), row.name, fill="black")
        with Image.open(folder / row.name.replace(" ", "-") / "heat.png") as heat:
            sheet.paste(heat.resize((width, height)), (90, top))
    return sheet


def _said(command: Sequence[str]) -> str:
    """List the options of a command, those of `--set` by their key."""
    given = [
        after.partition("=")[0] if part == "--set" else part[2:]
        for part, after in pairwise([*command, ""])
        if part.startswith("--")
    ]
    return ", ".join(given) or "nothing"


def _shell(command: Sequence[str]) -> str:
    return " ".join(f"'{part}'" if " " in part or "[" in part else part for part in command)


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
