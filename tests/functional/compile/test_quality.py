"""Sanity checks and calibrations are in the card, on the terminal and in `heatlens inspect`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heatlens.card import read_card
from heatlens.explain.methods import METHODS
from heatlens_cli.main import app
from heatlens_torch.proof import sanity
from tests.functional.compile.test_compile import BINARY, ONE_LOGIT, Description

SANITY = "tests.unit.heatlens_torch.proof.test_sanity"
HOME = "tests.functional.compile.test_compile"
EDGES = Description(
    "tests.unit.heatlens_torch.proof.test_sanity:EdgeCounter", {"logits": 1}, "seed:0", BINARY, "sigmoid", "edges", 32
)
CALIBRATED = Description(**{**vars(ONE_LOGIT), "more": {"inputs": f"{HOME}:pictures"}})


def words(*arguments: object) -> str:
    """Run the command with lines of any length, and return its output."""
    done = CliRunner(env={"COLUMNS": "500"}).invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("description", "verdict"),
    [
        (EDGES, "edges: WARNING: hardly depends on what the network has learnt: with 2 of 2 layers random"),
        (CALIBRATED, "layer4: sensitive: with 5 of 5 layers random"),
    ],
    ids=["edges", "ordinary"],
)
def test_sanity_is_in_the_card_and_in_inspect(description: Description, verdict: str, tmp_path: Path) -> None:
    compiling = words("compile", description.write(tmp_path), "-o", tmp_path / "out")

    [layer] = read_card(tmp_path / "out")[0].layers
    assert layer.sanity is not None
    assert layer.sanity.sensitive == (description is not EDGES)
    assert (layer.sanity.images, layer.sanity.seed) == (8, sanity.SEED)
    line = f"sanity      {verdict}, maps correlate {layer.sanity.stages[-1].signed:.2f}, "
    assert "comparing with random weights\n" in compiling
    assert line in compiling
    assert line in words("inspect", tmp_path / "out")


def test_calibrations_are_shown(tmp_path: Path) -> None:
    words("compile", CALIBRATED.write(tmp_path), "-o", tmp_path / "out")

    [layer] = read_card(tmp_path / "out")[0].layers
    assert layer.calibration is not None
    peaks = layer.calibration.peak_percentiles
    assert (
        f"calibration layer4: peaks of gradcam on 64 images, {peaks['5']:.3g} (5 %), {peaks['50']:.3g} (50 %), "
        f"{peaks['99']:.3g} (99 %); also of {', '.join(name for name in METHODS if name != 'gradcam')}\n"
    ) in (shown := words("inspect", tmp_path / "out"))
    for label, own in layer.calibration.classes.items():
        assert f"calibration layer4: {label}: weak under {own.floor:.3g}, on {own.images} images\n" in shown
    found = layer.familiarity
    assert found is not None
    assert f"familiarity layer4: {found.features} features of 64 images, AUROC {found.auroc:.4f} against " in shown
    assert set(json.loads((tmp_path / "out" / "card.json").read_text())["layers"][0]["calibrations"]) == (
        set(METHODS) - {"gradcam"}
    )


def test_fields_that_an_older_card_lacks_are_not_shown(tmp_path: Path) -> None:
    words("compile", EDGES.write(tmp_path), "-o", tmp_path / "out")
    assert "sanity      edges" in words("inspect", tmp_path / "out")
    card = tmp_path / "out" / "card.json"
    fields = json.loads(card.read_text())
    for key in ("sanity", "calibrations", "familiarity"):
        del fields["layers"][0][key]
    card.write_text(json.dumps(fields))

    output = words("inspect", tmp_path / "out")
    assert "sanity      " not in output
    assert "calibration none of edges: no absolute scale (inputs in the description make one)\n" in output
    assert "familiarity none of edges: inputs are not compared (inputs in the description do it)\n" in output
