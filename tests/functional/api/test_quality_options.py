"""Scale, regions and faithfulness at every entry point, equal to the core's."""

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from functions.endpoint.app import create_app as create_endpoint
from functions.endpoint.attributes import CUSTOM_ATTRIBUTES
from heatlens.card import Calibration
from heatlens.evaluate.regions import find_regions
from heatlens.explain.absolute_scale import absolute
from heatlens.model import load_model
from heatlens.pipeline import explain
from heatlens.render.color import overlay
from heatlens.results import Explanation
from heatlens.settings import LIMITS
from heatlens.types import Options, Upload
from heatlens_aws.object_keys import attempt_prefix
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.functional.api.test_options import PIXELS, evidence
from tests.support.aws import Account
from tests.support.colors import write_colors_model
from tests.support.images import encoded, noise
from tests.support.sagemaker import enveloped, with_endpoint
from tests.support.staged import desk

URL = "/api/inference/heatmap"
IMAGE = Image.fromarray(PIXELS)
DATA = encoded(IMAGE)
BOX = (0, 0, IMAGE.width, IMAGE.height)
FULL = 0.08
ALL = "include=overlay,map,regions,faithfulness"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    calibration = Calibration(images=10, peak_percentiles={"5": 0.0, "50": FULL / 2, "99": FULL})
    return write_colors_model(tmp_path_factory.mktemp("models") / "calibrated", calibration)


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(
        create_app(ServerSettings(model_dir=folder), deployment="server"), raise_server_exceptions=False
    ) as client:
        yield client


def ask(client: TestClient, query: str) -> Any:  # noqa: ANN401 - a response
    return client.post(f"{URL}?{query}", files={"file": DATA})


@pytest.mark.contract("absolute scale")
def test_the_absolute_scale_means_the_same_in_two_images(client: TestClient) -> None:
    body = ask(client, "scale=absolute&include=overlay,map").json()

    heat = absolute(evidence(1).astype(np.float32), FULL)
    expected = overlay(IMAGE, heat, BOX, colormap="jet", alpha=0.4)
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(body["heatmap_base64"]))))
    assert np.abs(drawn.astype(int) - np.asarray(expected)).max() <= 1
    plain = ask(client, "include=overlay,map").json()
    assert plain["heatmap_base64"] != body["heatmap_base64"]
    assert plain["map"] == body["map"]  # the map itself is in logit units


@pytest.mark.parametrize("query", ["layer=patches", "method=layercam", "contrast=RED", "aug_smooth=true"])
def test_rejects_the_absolute_scale_without_calibration(client: TestClient, query: str) -> None:
    error = problem(ask(client, f"scale=absolute&{query}"), 422, "request.invalid")

    assert error["errors"][0]["loc"] == ["query", "scale"]
    assert "no calibration" in error["detail"]


@pytest.mark.contract("regions")
@pytest.mark.parametrize("threshold", [0.25, 0.5, 0.8])
def test_regions_are_those_of_the_heat_as_drawn(client: TestClient, threshold: float) -> None:
    body = ask(client, f"include=regions,map&threshold={threshold}").json()

    signed = np.frombuffer(base64.b64decode(body["map"]["data_base64"]), "<f4").reshape(body["map"]["shape"])
    expected = find_regions(signed / signed.max(), BOX, threshold=threshold)
    assert body["regions"] == json.loads(json.dumps(asdict(expected)))
    assert body["regions"]["regions"]
    assert "regions" in body["timings_ms"]
    assert body["heatmap_base64"] is None


def test_regions_of_the_absolute_scale_are_of_that_heat(client: TestClient) -> None:
    body = ask(client, "include=regions,map&scale=absolute&threshold=0.9").json()

    signed = np.frombuffer(base64.b64decode(body["map"]["data_base64"]), "<f4").reshape(body["map"]["shape"])
    expected = find_regions(absolute(signed, FULL), BOX, threshold=0.9)
    assert body["regions"] == json.loads(json.dumps(asdict(expected)))


@pytest.mark.contract("faithfulness")
def test_faithfulness_is_complete_given_enough_time(client: TestClient) -> None:
    faithfulness = ask(client, "include=faithfulness").json()["faithfulness"]

    assert (faithfulness["complete"], faithfulness["steps"], len(faithfulness["percentiles"])) == (True, 32, 9)
    assert (
        0 <= faithfulness["deletion"] <= faithfulness["insertion"] <= 1
    )  # the color is the class: removing it lowers the score
    assert faithfulness["road"] > 0


@pytest.mark.contract("faithfulness")
def test_the_time_for_faithfulness_is_shared_by_images_and_targets(folder: Path) -> None:
    model, budgets = load_model(folder), list[float]()
    limits = LIMITS.model_copy(update={"faithfulness_s": 12.0})
    uploads = [Upload("a", DATA), Upload("b", encoded(noise((16, 16))))]
    options = Options(include=frozenset({"faithfulness"}), target=("top-2",))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heatlens.pipeline.faithfulness", lambda *_, budget_s, **__: budgets.append(budget_s))
        outcomes = explain(model, uploads, options, limits=limits, batch_images=8)

    assert all(isinstance(each, Explanation) for each in outcomes)
    assert budgets == [3.0] * 4


@pytest.mark.parametrize("query", ["threshold=0", "threshold=1.01", "threshold=NaN", "scale=log", "include=region"])
def test_rejects_invalid_values(client: TestClient, query: str) -> None:
    error = problem(ask(client, query), 422, "request.invalid")

    assert error["errors"][0]["loc"][:2] == ["query", query.partition("=")[0]]


def test_every_target_has_its_own_regions_and_faithfulness(client: TestClient) -> None:
    body = ask(client, f"{ALL}&target=RED&target=top-1").json()

    for each, index in zip(body["explanations"], (0, 1), strict=True):
        heat = evidence(index).astype(np.float32)
        expected = find_regions(heat / heat.max(), BOX)
        assert each["regions"]["found"] == expected.found
        assert each["faithfulness"]["probability"] == pytest.approx(each["probability"], rel=1e-5)
    assert body["regions"] == body["explanations"][0]["regions"]
    assert body["faithfulness"] == body["explanations"][0]["faithfulness"]


def test_what_is_not_requested_is_null(client: TestClient) -> None:
    body = ask(client, "include=map").json()

    assert (body["regions"], body["faithfulness"]) == (None, None)


def test_the_sagemaker_endpoint_and_batches_have_quality_options_too(
    client: TestClient, folder: Path, aws: Account
) -> None:
    endpoint = TestClient(create_endpoint(ServerSettings(model_dir=folder)))
    query = f"{ALL}&scale=absolute&threshold=0.4"

    by_header = endpoint.post(
        "/invocations", content=DATA, headers={"content-type": "image/png", CUSTOM_ATTRIBUTES: query}
    ).json()
    single = ask(client, query).json()
    staged = desk(aws, load_model(folder))
    options = {"include": ["regions", "faithfulness"], "scale": "absolute", "threshold": 0.4}
    local, remote = "01J0000000000000000000000A", "01J0000000000000000000000B"
    runtime = with_endpoint(staged, folder)
    staged.batch(DATA, number_of_batch=local, options=options)
    staged.batch(DATA, number_of_batch=remote, options=options | {"backend": "sagemaker"})
    staged.work(staged.received(*[staged.put(DATA, key=f"in/i/{batch}/00000") for batch in (local, remote)]))
    staged.work(staged.received(*(enveloped(each) for each in runtime.notices)))

    documents = []
    for batch in (local, remote):
        outcome = staged.file(0, batch).outcome
        prefix = attempt_prefix(batch, 0, outcome["attempt"])
        documents.append(json.loads(staged.object(f"{prefix}result.json")))
        assert sorted(outcome["objects"]) == ["map.npy", "result.json"]
    for each in (by_header, *documents):
        assert each["regions"] == single["regions"]
        assert each["faithfulness"] == single["faithfulness"]
    assert (documents[0]["options"]["scale"], documents[0]["options"]["threshold"]) == ("absolute", 0.4)
