"""Options of staged batches: validated at opening, kept in the row, applied by worker and endpoint alike."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from heatlens.card import Cost, read_card, write_card
from heatlens.explain.attribution import METHOD_NAMES
from heatlens.model import Model
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.object_keys import attempt_prefix
from heatlens_aws.records import FileState
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.functional.api.test_options import PIXELS, evidence
from tests.functional.conftest import MakeClient
from tests.support.aws import Account
from tests.support.colors import CLASSES, GRIDS
from tests.support.images import encoded, noise
from tests.support.sagemaker import enveloped, with_endpoint
from tests.support.staged import Staged, desk

URL = "/api/inference/batches"
DATA = encoded(Image.fromarray(PIXELS))
ASKED = {"target": ["RED"], "contrast": "0", "method": "layercam", "layer": "patches", "include": ["overlay"]}


@pytest.fixture
def staged(aws: Account, colours_model: Model) -> Staged:
    return desk(aws, colours_model)


@pytest.fixture
def client(aws: Account, make_client: MakeClient, colours_folder: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("HEATLENS_BUCKET", aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", aws.settings.table)
    monkeypatch.setenv("HEATLENS_ASYNC_ENDPOINT", "heatlens")
    return make_client(model_dir=colours_folder)


def opened(client: TestClient, jobs: BatchTable, **options: object) -> dict[str, Any]:
    """Open a batch and return the options in its row."""
    answer = client.post(URL, json={"expected_files": 1} | options)
    assert answer.status_code == 201, answer.text
    batch = jobs.batch(answer.json()["batch_id"])
    assert batch is not None
    return batch.options


def test_options_are_kept_in_the_row(client: TestClient, aws: Account) -> None:
    kept = opened(client, aws.jobs, **ASKED)

    assert {name: kept[name] for name in ASKED} == ASKED


def test_an_index_is_kept_as_its_label_which_means_the_same_everywhere(client: TestClient, aws: Account) -> None:
    kept = opened(client, aws.jobs, target=0, contrast=2)

    assert (kept["target"], kept["contrast"]) == (["RED"], "0")


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        ({"target": "BLUE"}, "target", "'BLUE' is no class of this model"),
        ({"contrast": "BLUE"}, "contrast", "'BLUE' is no class of this model"),
        ({"method": "magic"}, "method", "unknown method 'magic'"),
        ({"layer": "conv9"}, "layer", "there is no layer 'conv9' in this model"),
        ({"target": ["RED", "0"]}, "target", "one for each file: make a batch for every target"),
        ({"target": "top-2"}, "target", "one for each file: make a batch for every target"),
    ],
)
def test_opening_a_batch_rejects_options_that_no_worker_supports(
    client: TestClient, options: dict[str, Any], name: str, message: str
) -> None:
    found = problem(client.post(URL, json={"expected_files": 1} | options), 422, "request.invalid")

    assert message in found["detail"]
    assert found["errors"][0]["loc"] == ["body", name]


def test_rejects_a_method_that_needs_too_many_passes(
    aws: Account, make_client: MakeClient, colours_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEATLENS_BUCKET", aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", aws.settings.table)

    client = make_client(model_dir=colours_folder, passes=3)

    problem(client.post(URL, json={"expected_files": 1, "method": "scorecam"}), 413, "limit.passes")
    assert client.post(URL, json={"expected_files": 1}).status_code == 201


@pytest.fixture
def slow_client(
    aws: Account, make_client: MakeClient, colours_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TestClient:
    """A client of an API whose model takes 20 s for a pass of the trunk, with batch functions of 120 s."""
    variables = {"BUCKET": aws.settings.bucket, "TABLE": aws.settings.table, "ASYNC_ENDPOINT": "a"}
    for name, value in (variables | {"BATCH_TIMEOUT_S": "120"}).items():
        monkeypatch.setenv(f"HEATLENS_{name}", value)
    monkeypatch.setattr("heatlens.model.measure_slowdown", lambda *_: 1.0)
    folder = shutil.copytree(colours_folder, tmp_path / "slow")
    card, _ = read_card(folder)
    cost = Cost(trunk_ms=20_000, tail_ms=1000, golden_ms=21_000, batch=16)
    layers = tuple(layer.model_copy(update={"cost": cost}) for layer in card.layers)
    write_card(card.model_copy(update={"layers": layers}), folder)
    return make_client(model_dir=folder)


def test_only_a_server_measures_the_machine_before_its_first_batch(
    slow_client: TestClient, colours_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Mock(return_value=1.0)
    monkeypatch.setattr("heatlens.model.measure_slowdown", measured)

    create_app(ServerSettings(model_dir=colours_folder), deployment="lambda")
    assert measured.call_count == 0
    create_app(ServerSettings(model_dir=colours_folder), deployment="server")
    assert measured.call_count == 1


@pytest.mark.provokes("limit.time")
def test_rejects_options_with_which_an_image_takes_longer_than_a_function_has(slow_client: TestClient) -> None:
    refused = problem(
        slow_client.post(URL, json={"expected_files": 1, "method": "gradcam", "aug_smooth": True}), 413, "limit.time"
    )

    assert "takes about 126 s" in refused["detail"]
    assert "BatchTimeout" in refused["detail"]
    assert slow_client.post(URL, json={"expected_files": 1}).status_code == 201
    remote = {"expected_files": 1, "aug_smooth": True, "backend": "sagemaker"}
    assert slow_client.post(URL, json=remote).status_code == 201


def test_rejects_a_retry_whose_images_take_longer_than_a_function_has(
    slow_client: TestClient, aws: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("heatlens_web.batches.routes.check_time", lambda *_: None)  # as before the model was measured
        batch = slow_client.post(URL, json={"expected_files": 1, "aug_smooth": True}).json()["batch_id"]
    slow_client.post(f"{URL}/{batch}/close")

    problem(slow_client.post(URL, json={"retry_of": batch}), 413, "limit.time")


def test_rejects_options_longer_than_the_endpoints_header(
    aws: Account, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.colors import write_colors_model

    for name, value in {"BUCKET": aws.settings.bucket, "TABLE": aws.settings.table, "ASYNC_ENDPOINT": "a"}.items():
        monkeypatch.setenv(f"HEATLENS_{name}", value)
    long = "Ü" * 180
    client = make_client(model_dir=write_colors_model(tmp_path / "long", classes=(long, "GREEN", "BLUE")))

    body = {"expected_files": 1, "target": long}
    assert client.post(URL, json=body).status_code == 201
    found = problem(client.post(URL, json=body | {"backend": "sagemaker"}), 422, "request.invalid")

    assert found["errors"][0]["loc"] == ["body", "backend"]


def explained(staged: Staged) -> tuple[dict[str, Any], Any]:
    """Read the committed result and its map."""
    file = staged.file()
    assert file.state is FileState.OK, file.outcome
    prefix = attempt_prefix(file.batch, file.number, file.outcome["attempt"])
    signed_map = np.load(io.BytesIO(staged.object(prefix + "map.npy")), allow_pickle=False)
    return json.loads(staged.object(prefix + "result.json")), signed_map


@pytest.mark.parametrize("target", ["RED", "0"])
def test_the_worker_uses_the_batchs_options(staged: Staged, target: str) -> None:
    staged.batch(DATA, options=ASKED | {"method": "gradcam", "target": [target], "contrast": None})

    assert staged.work(staged.received(staged.put(DATA))) == set()

    result, signed_map = explained(staged)
    assert result["prediction"]["label"] == "GREEN, light"
    assert (result["explained"]["label"], result["explained"]["contrast"]) == (target, None)
    assert (result["model"]["layer"], result["model"]["method"]) == ("patches", "gradcam")
    assert result["options"]["target"] == [target]
    assert signed_map == pytest.approx(evidence(CLASSES.index(target), GRIDS["patches"]), rel=1e-5)


@pytest.mark.contract("same bytes")
@pytest.mark.parametrize(("target", "label"), [("RED", "RED"), (["RED", "GREEN, light"], "RED|GREEN, light")])
def test_an_endpoint_explains_the_same(
    staged: Staged, colours_folder: Path, target: str | list[str], label: str
) -> None:
    runtime = with_endpoint(staged, colours_folder)
    asked = ASKED | {"target": [target]}
    staged.batch(DATA, options=asked | {"backend": "sagemaker"})
    staged.work(staged.received(staged.put(DATA)))
    staged.work(staged.received(*(enveloped(each) for each in runtime.notices)))
    remote, remote_map = explained(staged)
    other = "01J11111111111111111111111"
    staged.batch(DATA, options=asked, number_of_batch=other)

    staged.work(staged.received(staged.put(DATA, key=f"in/i/{other}/00000")))

    file = staged.file(0, other)
    prefix = attempt_prefix(other, 0, file.outcome["attempt"])
    local = json.loads(staged.object(prefix + "result.json"))
    assert (local["explained"]["label"], local["explained"]["contrast"]) == (label, "0")
    assert remote["explained"] == local["explained"]
    assert remote["options"] == local["options"]
    assert remote["model"]["method"] == local["model"]["method"] == "layercam"
    assert np.array_equal(remote_map, np.load(io.BytesIO(staged.object(prefix + "map.npy")), allow_pickle=False))


UNDOABLE = [
    {"method": "newest"},
    {"layer": "conv9"},
    {"target": ["BLUE"]},
    {"contrast": "BLUE"},
    {"target": {"an": "object"}},
    {"colormap": "newest"},
    {"include": ["smell"]},
    {"include": 7},
    {"alpha": "much"},
    {"target": [f"top-{3}"] * 2, "contrast": 1},
]


@pytest.mark.parametrize("options", UNDOABLE, ids=str)
def test_unsupported_options_fail_each_file_without_redelivery(staged: Staged, options: dict[str, Any]) -> None:
    good = "01J11111111111111111111111"
    staged.batch(DATA, DATA, options=options)
    staged.batch(DATA, number_of_batch=good)
    stored = [staged.put(DATA, 0), staged.put(DATA, 1), staged.put(DATA, key=f"in/i/{good}/00000")]

    assert staged.work(staged.received(*stored)) == set()

    for number in (0, 1):
        file = staged.file(number)
        assert (file.state, file.outcome["code"]) == (FileState.FAILED, "request.invalid")
        assert file.outcome["detail"]
    assert staged.file(0, good).state is FileState.OK


def test_unknown_options_in_a_row_are_ignored(staged: Staged) -> None:
    staged.batch(DATA, options={"method": "gradcam", "smell": {"strength": 3}, "backend": "lambda"})

    assert staged.work(staged.received(staged.put(DATA))) == set()

    assert staged.file().state is FileState.OK


def test_files_too_expensive_as_a_batch_are_explained_one_by_one(staged: Staged) -> None:
    files = [encoded(noise((24, 24), seed=seed)) for seed in range(3)]
    limits = staged.context.limits.model_copy(update={"passes": 4})
    staged.context = replace(staged.context, limits=limits)
    staged.batch(*files, options={"method": "ablationcam"})

    again = staged.work(staged.received(*[staged.put(data, number) for number, data in enumerate(files)]))

    assert again == set()
    assert {staged.file(number).state for number in range(3)} == {FileState.OK}


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_the_worker_supports_every_method(staged: Staged, method: str) -> None:
    staged.batch(DATA, options={"method": method})

    staged.work(staged.received(staged.put(DATA)))

    assert explained(staged)[0]["model"]["method"] == method


def test_objects_are_kept_in_the_row_in_the_order_in_which_they_are_written(client: TestClient, aws: Account) -> None:
    assert opened(client, aws.jobs, dicom="sr,sc,seg")["dicom"] == ["sc", "seg", "sr"]
    assert opened(client, aws.jobs, format="dicom", dicom=["seg"])["dicom"] == ["seg"]
    kept = opened(client, aws.jobs, format="dicom")

    assert (kept["dicom"], kept["format"]) == (["sc"], "png")


def test_opening_a_batch_rejects_a_format_that_no_object_has(client: TestClient) -> None:
    answer = client.post(URL, json={"expected_files": 1, "dicom": ["sc"], "format": "jpeg"})

    found = problem(answer, 422, "request.invalid")
    assert found["errors"][0]["loc"] == ["body", "format"]
    assert client.post(URL, json={"expected_files": 1, "dicom": ["seg"], "format": "jpeg"}).status_code == 201
