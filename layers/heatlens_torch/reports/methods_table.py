"""Write layers/METHODS.md, every method against pytorch-grad-cam: `python -m heatlens_torch.reports.methods_table`."""

import argparse
import copy
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_grad_cam
import torch
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from heatlens.explain.attribution import MethodOptions, attribute
from heatlens.explain.multi_layer import combined
from heatlens.explain.perturbation import RERUNS
from heatlens.explain.targets import PREDICTED
from heatlens.model import load_model
from heatlens.types import Floats
from heatlens_torch.compile import compile_model
from heatlens_torch.graph.probe import target as module_at
from heatlens_torch.loading.network import build_network, images_of
from heatlens_torch.loading.spec import read_spec
from heatlens_torch.proof import calibration, parity
from heatlens_torch.reports.parity_table import SUBJECTS, Subject, description

OUT = Path(__file__).parents[2] / "METHODS.md"
NAMES = (
    "resnet18",
    "googlenet",
    "regnet_y_400mf",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "mobilenet_v3_small",
    "mobilenet_v2",
)
PIXELS = 96
IMAGES, RERUN_IMAGES = 4, 1
AUGMENTED = ("gradcam", "layercam", "gradcam++")  # the six views are the same for all methods
SMOOTHINGS: tuple[dict[str, bool], ...] = ({}, {"eigen_smooth": True}, {"aug_smooth": True})
THEIRS: dict[str, type] = {
    "gradcam": pytorch_grad_cam.GradCAM,
    "gradcam++": pytorch_grad_cam.GradCAMPlusPlus,
    "xgradcam": pytorch_grad_cam.XGradCAM,
    "layercam": pytorch_grad_cam.LayerCAM,
    "hirescam": pytorch_grad_cam.HiResCAM,
    "gradcam-elementwise": pytorch_grad_cam.GradCAMElementWise,
    "eigencam": pytorch_grad_cam.EigenCAM,
    "eigengradcam": pytorch_grad_cam.EigenGradCAM,
    "ablationcam": pytorch_grad_cam.AblationCAM,
    "scorecam": pytorch_grad_cam.ScoreCAM,
}


class Zeroing(AblationLayer):  # type: ignore[misc]
    """Sets ablated channels to 0 as the paper does, also where the least activation is not 0."""

    def __call__(self, _: torch.Tensor) -> torch.Tensor:
        ablated: torch.Tensor = self.activations
        for at in range(len(ablated)):
            ablated[at, self.indices[at]] = 0
        return ablated


@dataclass(frozen=True, slots=True)
class Row:
    """The largest difference of the heat in 0..1 by method and smoothing; `zero`: whether the least activation is 0.

    `rounding` is the largest difference of all between pytorch-grad-cam in float32 and itself in float64.
    """

    architecture: str
    differences: dict[tuple[str, str], float]
    zero: bool
    rounding: float

    @property
    def name(self) -> str:
        """Return the architecture's name, marked (+) if the least activation is not 0."""
        return self.architecture if self.zero else f"{self.architecture} (+)"


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile the architectures, compare every method, and write the table after every row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(NAMES))
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    for name in options.names:
        print(f"comparing {name}", flush=True)
        rows.append(run(next(subject for subject in SUBJECTS if subject.name == name)))
        options.out.write_text(render(rows), encoding="utf-8")
    print(render(rows))


def run(subject: Subject) -> Row:
    """Compile one architecture and compare every method's heat with pytorch-grad-cam's."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        path = home / "model.toml"
        path.write_text(description(Subject(subject.architecture, (), PIXELS, subject.arguments)), encoding="utf-8")
        compile_model(path, home / "out")
        spec = read_spec(path)
        network, model = build_network(spec, home).network, load_model(home / "out")
        images = images_of(spec)[:IMAGES]
    layer = model.card.layers[0].name
    zero = bool((model.engine.trunk(images)[0].min(axis=(1, 2, 3)) == 0).all())
    # A projection is unstable where two singular values are close, so that float32 tells little: the reference is
    # computed in float64.
    exact = copy.deepcopy(network).double()
    differences: dict[tuple[str, str], float] = {}
    rounding = 0.0
    for method, smoothing in _cells():
        shown = images[: RERUN_IMAGES if method in RERUNS else IMAGES]
        found = attribute(model.engine, model.card, shown, [PREDICTED] * len(shown), MethodOptions(method, **smoothing))
        ours = (
            np.stack([each.heats[0] for each in found if each.heats])
            if smoothing.get("aug_smooth")
            else combined([np.stack([each.signed_maps[0] for each in found])], shown.shape[2:])
        )
        classes = [each.targets[0][0] for each in found]
        theirs = _theirs(exact, layer, method, torch.from_numpy(shown).double(), classes, smoothing)
        rounded = _theirs(network, layer, method, torch.from_numpy(shown), classes, smoothing)
        differences[method, "".join(smoothing)] = float(np.abs(ours - theirs).max())
        rounding = max(rounding, float(np.abs(rounded - theirs).max()))
    return Row(subject.name, differences, zero, rounding)


def _cells() -> Iterator[tuple[str, dict[str, bool]]]:
    for method in THEIRS:
        for smoothing in SMOOTHINGS:
            if "aug_smooth" not in smoothing or method in AUGMENTED:
                yield method, smoothing


def _theirs(
    network: nn.Module,
    layer: str,
    method: str,
    images: torch.Tensor,
    classes: Sequence[int],
    smoothing: dict[str, bool],
) -> Floats:
    """Compute pytorch-grad-cam's heat at the input's size."""
    further = {"ablation_layer": Zeroing()} if method == "ablationcam" else {}
    with THEIRS[method](model=network, target_layers=[module_at(network, layer)], **further) as cam:
        heat: Floats = cam(images, [ClassifierOutputTarget(index) for index in classes], **smoothing)
    return heat


def render(rows: Sequence[Row]) -> str:
    """Write the table as Markdown."""
    versions = ", ".join(f"{tool} {release}" for tool, release in calibration.made_with().items())
    lines = [
        "# Methods against pytorch-grad-cam",
        "",
        f"Written by `make parity`; do not edit. Seeded weights, the last layer that fits, input {PIXELS}x{PIXELS},",
        f"{IMAGES} synthetic images each ({RERUN_IMAGES} for methods that run the network again), graphs run in",
        "OpenVINO in float32, pytorch-grad-cam in float64. Each cell is the largest difference of the heat of each",
        f"image's predicted class, at the input's size, in 0..1; allowed is {parity.THRESHOLD:.0e}. The last row is",
        "how far pytorch-grad-cam in float32 is from itself in float64, by the method where it is farthest. Where a",
        "layer's least activation is not 0 (+), pytorch-grad-cam was given an ablation layer that sets channels to 0,",
        "as the paper has it; its own sets them far below.",
        "",
        f"Made with {versions}.",
        "",
        f"| method | {' | '.join(row.name for row in rows)} |",
        f"|---|{'---|' * len(rows)}",
    ]
    for method, smoothing in _cells():
        smooth = "".join(smoothing)
        values = [row.differences[method, smooth] for row in rows]
        lines.append(f"| {method}{f', {smooth}' if smooth else ''} | {' | '.join(f'{each:.1e}' for each in values)} |")
    lines.append(f"| *pytorch-grad-cam in float32* | {' | '.join(f'{row.rounding:.1e}' for row in rows)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
