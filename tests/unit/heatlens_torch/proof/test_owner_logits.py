"""The owner's code is OpenCV here: the logits agree with its own list, and a wrong one is named."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from heatlens.errors import ModelFileError
from heatlens_torch.loading.spec import ModelSpec
from heatlens_torch.proof.owner_logits import compare_with_owner
from tests.support.dicom import dicom
from tests.support.images import noise

SIDE = 32
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
IMAGE = noise((160, 120))
SCALE: dict[str, Any] = {"step": "scale"}
NORMALIZE: dict[str, Any] = {"step": "normalize", "mean": MEAN, "std": STD}
AREA: dict[str, Any] = {"step": "resize", "size": SIDE, "library": "opencv", "interpolation": "area"}
BGR: dict[str, Any] = {"step": "channels", "order": "BGR"}
OWN = [AREA, BGR, SCALE, NORMALIZE]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * (SIDE - 2) ** 2, 3)).eval()


def owners() -> torch.Tensor:
    """What the owner's code does: read by OpenCV (BGR), resize, scale, normalize."""
    pixels = cv2.resize(np.asarray(IMAGE)[..., ::-1], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    values = (pixels / 255 - np.array(MEAN)) / np.array(STD)
    with torch.no_grad():
        logits: torch.Tensor = network()(torch.from_numpy(values.transpose(2, 0, 1)[None]).float())[0]
    return logits


def described(folder: Path, steps: list[dict[str, Any]], **reference: Any) -> ModelSpec:  # noqa: ANN401
    IMAGE.save(folder / "reference.png")
    fields = {
        "name": "a", "version": "1", "architecture": "a:b", "weights": "own",
        "classes": ["x", "y", "z"], "output": "softmax",
        "preprocess": {"steps": steps},
        "reference": {"image": "reference.png", "logits": owners().tolist()} | reference,
    }  # fmt: skip
    return ModelSpec.model_validate(fields)


def refusal(folder: Path, steps: list[dict[str, Any]], **reference: Any) -> str:  # noqa: ANN401
    with pytest.raises(ModelFileError) as caught:
        compare_with_owner(network(), described(folder, steps, **reference), folder)
    return str(caught.value)


def test_the_right_list_agrees_and_is_kept(tmp_path: Path) -> None:
    found = compare_with_owner(network(), described(tmp_path, OWN), tmp_path)

    assert found is not None
    assert found.difference < 0.01
    assert found.logits == pytest.approx(owners().tolist())


def test_logits_may_lie_in_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", owners().numpy()[None])

    assert compare_with_owner(network(), described(tmp_path, OWN, logits="logits.npy"), tmp_path) is not None


def test_without_a_reference_nothing_is_compared(tmp_path: Path) -> None:
    spec = described(tmp_path, OWN).model_copy(update={"reference": None})

    assert compare_with_owner(network(), spec, tmp_path) is None


@pytest.mark.parametrize(
    ("steps", "would_agree"),
    [
        ([{**AREA, "interpolation": "nearest"}, BGR, SCALE, NORMALIZE], 'library = "opencv", interpolation = "area"'),
        ([AREA, SCALE, NORMALIZE], "channels in the order BGR."),
        ([AREA, BGR, NORMALIZE], "mean and std on values of 0 to 1."),
        (
            [{"step": "resize", "size": SIDE, "interpolation": "nearest"}, SCALE, NORMALIZE],
            'library = "opencv", interpolation = "area" and channels in the order BGR.',
        ),
    ],
)
def test_a_wrong_list_is_refused_with_what_would_agree(
    steps: list[dict[str, Any]], would_agree: str, tmp_path: Path
) -> None:
    message = refusal(tmp_path, steps)

    assert message.startswith("reference: the logits of reference.png differ from yours by ")
    assert "of the largest (allowed 0.01): ours are [" in message
    assert "They would agree (" in message
    assert would_agree in message


def test_probabilities_are_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, OWN, logits=owners().softmax(dim=0).tolist())

    assert message.endswith("Yours are a softmax of ours: give the logits, before it.")


def test_where_nothing_agrees_the_nearest_is_named(tmp_path: Path) -> None:
    assert "No other resizer, order of channels or range of values agrees; the nearest is " in refusal(
        tmp_path, OWN, logits=[100.0, -50.0, 7.0]
    )


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"image": "missing.png"}, "reference: missing.png: no such readable file"),
        ({"image": "logits.npy"}, "reference: logits.npy: the bytes are not an image"),
        ({"logits": [1.0]}, "reference: 1 logits, and the network answers 3"),
        ({"logits": "missing.npy"}, "reference: missing.npy: no readable .npy file of numbers"),
    ],
)
def test_what_cannot_be_read_is_refused(reference: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", owners().numpy())

    assert refusal(tmp_path, OWN, **reference).startswith(message)


def test_values_that_were_read_in_another_way_are_named(tmp_path: Path) -> None:
    stored = np.random.default_rng(2).integers(0, 3000, (SIDE, SIDE)).astype(np.uint16)
    (tmp_path / "reference.dcm").write_bytes(dicom(stored, RescaleSlope="1", RescaleIntercept="-1024"))
    with torch.no_grad():
        theirs = network()(torch.from_numpy(stored.astype(np.float32)).expand(1, 3, SIDE, SIDE) / 1000)[0].tolist()
    values = {"step": "values", "low": 0, "high": 3000, "of": "stored"}
    steps = [values, {"step": "resize", "size": SIDE}, {"step": "scale", "factor": 0.001}]
    given: dict[str, Any] = {"image": "reference.dcm", "logits": theirs}

    assert compare_with_owner(network(), described(tmp_path, steps, **given), tmp_path) is not None
    message = refusal(tmp_path, [values | {"of": "rescaled"}, *steps[1:]], **given)

    assert "They would agree" in message
    assert 'with of = "stored".' in message
