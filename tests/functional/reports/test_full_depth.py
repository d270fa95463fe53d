"""A network that was trained on Hounsfield units receives them, through every entry point."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from functions.endpoint.app import create_app as create_endpoint
from heatlens import Explainer
from heatlens.card import Preprocess
from heatlens.input.preprocess import preprocess
from heatlens.model import load_model
from heatlens.pipeline import WINDOW_IS_DRAWN
from heatlens_aws.object_keys import attempt_prefix
from heatlens_aws.records import FileState
from heatlens_cli.main import app as command
from heatlens_web.app import create_app
from heatlens_web.decode_pool import APART_PIXELS, DecodePool
from heatlens_web.settings import ServerSettings
from tests.support.aws import ID, Account
from tests.support.dicom import Array, dicom
from tests.support.images import encoded, noise
from tests.support.staged import desk
from tests.support.tiny import BIAS, SIDE, WEIGHT, write_tiny_model

LOW, HIGH = -1000.0, 400.0
STEPS: list[dict[str, Any]] = [
    {"step": "values", "low": LOW, "high": HIGH},
    {"step": "clip", "low": LOW, "high": HIGH},
    {"step": "resize", "size": SIDE, "library": "torchvision"},
    {"step": "scale", "factor": 1 / (HIGH - LOW), "offset": -LOW / (HIGH - LOW)},
]


def ct(size: tuple[int, int] = (64, 64)) -> tuple[bytes, Array]:
    """Write a slice whose window shows a narrow part of its values; return it with its Hounsfield units."""
    stored = np.random.default_rng(3).integers(0, 1800, size).astype(np.uint16)
    data = dicom(stored, bits=12, RescaleSlope="1", RescaleIntercept="-1024", WindowCenter="40", WindowWidth="80")
    return data, stored.astype(np.float32) - 1024


def expected_logit(units: Array) -> float:
    """Compute the tiny model's logit of the values; shrinking by a whole factor keeps their mean, edges aside."""
    return float(WEIGHT * ((np.clip(units, LOW, HIGH) - LOW) / (HIGH - LOW)).mean() + BIAS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Preprocess.model_validate({"steps": STEPS})
    return write_tiny_model(tmp_path_factory.mktemp("ct") / "model", preprocess=recipe)


@pytest.mark.provokes("input.depth")
def test_the_api_the_endpoint_and_python_agree(folder: Path) -> None:
    data, units = ct()
    files = {"file": ("a.dcm", data)}
    with TestClient(create_app(ServerSettings(model_dir=folder), deployment="server")) as api:
        heatmap = api.post("/api/inference/heatmap", files=files).json()
        predict = api.post("/api/inference/predict", files=files).json()
        windowed = api.post("/api/inference/heatmap?window=0,10", files=files).json()
        refused = api.post("/api/inference/heatmap", files={"file": ("a.jpg", encoded(noise((8, 8)), "JPEG"))})
    with TestClient(create_endpoint(ServerSettings(model_dir=folder))) as endpoint:
        invoked = endpoint.post("/invocations", content=data, headers={"content-type": "application/dicom"}).json()
    by_python = Explainer.load(folder).explain(data).prediction.logit

    logits = [each["prediction"]["logit"] for each in (heatmap, predict, windowed, invoked)]
    assert by_python == pytest.approx(expected_logit(units), abs=0.03)
    assert logits == pytest.approx([by_python] * 4)
    assert heatmap["original_image_base64"] != windowed["original_image_base64"]
    assert (heatmap["notes"], windowed["notes"]) == ([], [WINDOW_IS_DRAWN])
    assert (refused.status_code, refused.json()["code"]) == (400, "input.depth")


def test_a_staged_batch_and_the_command_agree(
    folder: Path, aws: Account, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, units = ct()
    staged = desk(aws, load_model(folder))
    staged.batch(data)
    assert staged.work(staged.received(staged.put(data))) == set()
    assert staged.file().state == FileState.OK
    prefix = attempt_prefix(ID, 0, staged.file().outcome["attempt"])
    (tmp_path / "a.dcm").write_bytes(data)
    capsys.readouterr()

    command(
        ["explain", "--model", str(folder), str(tmp_path / "a.dcm"), "-o", str(tmp_path / "out")], standalone_mode=False
    )

    by_python = Explainer.load(folder).explain(data).prediction
    assert f"{by_python.probability:.3f}" in capsys.readouterr().out
    logit = json.loads(staged.object(prefix + "result.json"))["prediction"]["logit"]
    assert logit == pytest.approx(expected_logit(units), abs=0.03)
    assert logit == pytest.approx(by_python.logit)


def test_another_process_hands_over_the_values() -> None:
    data, units = ct((APART_PIXELS // 700 + 1, 700))
    step = Preprocess.model_validate({"steps": STEPS}).values
    pool = DecodePool(processes=1, deadline_s=60)

    found = pool.decode(data, max_pixels=10**7, values=step)

    assert pool.process_ids
    assert found.values is not None
    np.testing.assert_array_equal(found.values[..., 0], units)


def test_levels_of_8_bits_are_mapped_where_the_description_says_so(tmp_path: Path) -> None:
    steps = [STEPS[0] | {"eight_bits": "map"}, *STEPS[1:]]
    recipe = Preprocess.model_validate({"steps": steps})
    image = noise((64, 64), "L")

    found = Explainer.load(write_tiny_model(tmp_path / "m", preprocess=recipe)).explain(encoded(image))

    assert found.prediction.logit == pytest.approx(WEIGHT * np.asarray(image).mean() / 255 + BIAS, abs=0.03)


def test_no_level_is_rounded_on_the_way() -> None:
    values = (np.arange(64 * 64, dtype=np.float32).reshape(64, 64, 1) / 64 - 20) / 7
    recipe = Preprocess.model_validate({"steps": [STEPS[0], {"step": "resize", "size": 64}]})

    assert np.array_equal(preprocess(values, recipe), np.repeat(values.transpose(2, 0, 1), 3, axis=0))
