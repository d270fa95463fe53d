"""Several models side by side: chosen by name at every entry point, and named in every response."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from functions.batch import context as batch_context
from functions.endpoint.app import create_app as create_endpoint
from functions.endpoint.attributes import CUSTOM_ATTRIBUTES
from heatlens.card import read_card
from heatlens.explain.attribution import METHOD_NAMES
from heatlens.registry import ModelRegistry, load_models
from heatlens_aws.records import FileState
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.functional.api.test_options import PIXELS
from tests.support.aws import Account
from tests.support.colors import CLASSES, GRIDS, write_colors_model
from tests.support.images import encoded
from tests.support.staged import Staged, desk
from tests.support.tiny import write_tiny_model

API = "/api/inference"
DATA = encoded(Image.fromarray(PIXELS))
RAW = {"content-type": "image/png"}
PATHS = ["heatmap", "heatmap-batch", "predict", "predict-batch"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a default model, another, and a damaged one."""
    models = tmp_path_factory.mktemp("models")
    write_tiny_model(models / "grey")
    write_colors_model(models / "colours")
    (write_tiny_model(models / "damaged") / "tail.onnx").write_bytes(b"altered")
    return models


@pytest.fixture(scope="module")
def settings(folder: Path) -> ServerSettings:
    return ServerSettings(models_dir=folder, model_dir=folder / "grey")


@pytest.fixture(scope="module")
def client(settings: ServerSettings) -> Iterator[TestClient]:
    with TestClient(create_app(settings, deployment="server"), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def unhealthy(folder: Path) -> TestClient:
    """A server whose default model is damaged, and others are not."""
    app = create_app(ServerSettings(models_dir=folder, model_dir=folder / "damaged"), deployment="server")
    return TestClient(app, raise_server_exceptions=False)


def post(client: TestClient, path: str, query: str = "") -> Any:  # noqa: ANN401 - a response
    return client.post(f"{API}/{path}?{query}", content=DATA, headers=RAW)


@pytest.mark.contract("model option")
@pytest.mark.parametrize("path", PATHS)
def test_a_request_selects_its_model(client: TestClient, folder: Path, path: str) -> None:
    answers = {query: post(client, path, query).json() for query in ("", "model=grey", "model=colours")}

    assert [answer["model"]["name"] for answer in answers.values()] == ["tiny", "tiny", "colours"]
    assert answers["model=colours"]["model"]["sha256"] == read_card(folder / "colours")[1]
    results = answers["model=colours"].get("results", [answers["model=colours"]])
    assert results[0]["prediction"]["label"] == CLASSES[1]


@pytest.mark.parametrize("path", PATHS)
def test_a_json_body_selects_the_model_and_the_query_wins(client: TestClient, path: str) -> None:
    image = {"image_base64": base64.b64encode(DATA).decode()}
    body = ({"images": [image]} if path.endswith("batch") else image) | {"model": "colours"}

    assert client.post(f"{API}/{path}", json=body).json()["model"]["name"] == "colours"
    assert client.post(f"{API}/{path}?model=grey", json=body).json()["model"]["name"] == "tiny"


@pytest.mark.parametrize("path", PATHS)
def test_an_unknown_model_is_a_422_and_a_broken_one_a_503(client: TestClient, path: str) -> None:
    image = {"image_base64": base64.b64encode(DATA).decode()}
    body = ({"images": [image]} if path.endswith("batch") else image) | {"model": "other"}

    by_query = problem(post(client, path, "model=other"), 422, "request.invalid")
    by_body = problem(client.post(f"{API}/{path}", json=body), 422, "request.invalid")
    broken = post(client, path, "model=damaged")

    assert by_query["detail"] == "model: no model 'other' here: grey, colours, damaged"
    assert (by_query["errors"][0]["loc"], by_body["errors"][0]["loc"]) == (["query", "model"], ["body", "model"])
    problem(broken, 503, "model.unavailable")
    assert broken.headers["retry-after"] == "30"


def test_options_are_checked_by_the_chosen_model(client: TestClient) -> None:
    assert post(client, "heatmap", "model=colours&layer=patches&target=RED").status_code == 200
    problem(post(client, "heatmap", "layer=patches"), 422, "request.invalid")


@pytest.mark.contract("health", "ready")
def test_health_and_readiness_report_each_model(client: TestClient) -> None:
    health, ready = client.get(f"{API}/health").json(), client.get(f"{API}/ready")

    assert (health["status"], health["model_loaded"], health["model_version"]) == ("degraded", True, "7")
    assert health["reason"].startswith("damaged: tail.onnx is not the file its card describes")
    assert [(each["name"], each["loaded"], each["version"]) for each in health["models"]] == [
        ("grey", True, "7"),
        ("colours", True, "3"),
        ("damaged", False, None),
    ]
    assert (ready.status_code, ready.json()) == (
        200,
        {"ready": True, "models": {"grey": True, "colours": True, "damaged": False}},
    )


def test_without_its_default_model_a_server_is_unhealthy_and_serves_the_others(unhealthy: TestClient) -> None:
    health = unhealthy.get(f"{API}/health").json()

    assert (health["status"], health["model_loaded"], health["model_version"]) == ("unhealthy", False, None)
    assert health["reason"].startswith("tail.onnx is not")
    problem(unhealthy.get(f"{API}/ready"), 503, "model.unavailable")
    problem(post(unhealthy, "heatmap"), 503, "model.unavailable")
    assert post(unhealthy, "heatmap", "model=colours").status_code == 200


@pytest.mark.contract("models")
def test_cards(client: TestClient, folder: Path) -> None:
    default, colours, damaged = client.get(f"{API}/models").json()["models"]

    card, sha256 = read_card(folder / "colours")
    assert (default["name"], default["default"], default["loaded"]) == ("grey", True, True)
    assert (colours["name"], colours["model"], colours["version"], colours["default"]) == (
        "colours",
        "colours",
        "3",
        False,
    )
    assert (colours["sha256"], colours["notice"], colours["output"]) == (sha256, card.notice, "softmax")
    assert (colours["classes"], colours["input"]) == (list(CLASSES), [32, 32])
    assert [layer["name"] for layer in colours["layers"]] == list(GRIDS)
    assert colours["layers"][0]["parity"]["reference"] == "by construction"
    assert colours["layers"][0]["calibration"] is None
    assert colours["methods"] == list(METHOD_NAMES)
    assert (colours["engine"], colours["precision"]) == ("openvino", "f32")
    assert (damaged["name"], damaged["loaded"], damaged["classes"]) == ("damaged", False, None)
    assert "altered" not in damaged["reason"]
    assert damaged["reason"].startswith("tail.onnx is not the file")


@pytest.mark.contract("model option")
def test_the_sagemaker_endpoint_selects_the_model_by_its_header(settings: ServerSettings) -> None:
    client = TestClient(create_endpoint(settings), raise_server_exceptions=False)

    def invoke(attributes: str) -> Any:  # noqa: ANN401 - a response
        return client.post("/invocations", content=DATA, headers=RAW | {CUSTOM_ATTRIBUTES: attributes})

    assert invoke("model=colours").json()["model"]["name"] == "colours"
    assert invoke("alpha=0.5").json()["model"]["name"] == "tiny"
    assert problem(invoke("model=other"), 422, "request.invalid")["errors"][0]["loc"] == [
        "header",
        CUSTOM_ATTRIBUTES,
        "model",
    ]
    problem(invoke("model=damaged"), 503, "model.unavailable")
    assert client.get("/ping").status_code == 200


def with_models(staged: Staged, models: ModelRegistry) -> Staged:
    staged.context = batch_context.WorkerContext(staged.context.account, models, staged.context.limits, 8)
    return staged


@pytest.mark.contract("model option")
def test_a_staged_batch_selects_its_model(
    aws: Account, settings: ServerSettings, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("HEATLENS_BUCKET", aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", aws.settings.table)
    client = TestClient(create_app(settings, deployment="lambda"), raise_server_exceptions=False)
    request = {"expected_files": 1, "model": "colours", "target": "RED"}

    opened = client.post(f"{API}/batches", json=request)
    unknown = client.post(f"{API}/batches", json=request | {"model": "other"})
    broken = client.post(f"{API}/batches", json=request | {"model": "damaged"})

    batch = aws.jobs.batch(opened.json()["batch_id"])
    assert batch is not None
    assert (batch.options["model"], batch.model) == ("colours", read_card(folder / "colours")[1])
    assert problem(unknown, 422, "request.invalid")["errors"][0]["loc"] == ["body", "model"]
    problem(broken, 503, "model.unavailable")


def test_a_retry_uses_the_model_of_the_first_batch(
    aws: Account, settings: ServerSettings, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("HEATLENS_BUCKET", aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", aws.settings.table)
    client = TestClient(create_app(settings, deployment="lambda"), raise_server_exceptions=False)
    first = client.post(f"{API}/batches", json={"expected_files": 1, "model": "colours"}).json()["batch_id"]
    file = {"name": "a.png", "size": 1, "sha256": "0" * 64, "media_type": "image/png"}
    client.post(f"{API}/batches/{first}/files", json={"files": [file]})
    client.post(f"{API}/batches/{first}/close")

    again = client.post(f"{API}/batches", json={"retry_of": first})

    batch = aws.jobs.batch(again.json()["batch_id"])
    assert batch is not None
    assert (batch.options["model"], batch.model) == ("colours", read_card(folder / "colours")[1])


def test_a_worker_uses_the_model_that_a_batch_names(aws: Account, settings: ServerSettings) -> None:
    models = load_models(settings)
    staged = with_models(desk(aws, models["grey"]), models)
    names: dict[str, str | None] = {"01J0000000000000000000000A": "colours", "01J0000000000000000000000B": None}
    for batch, model in names.items():
        staged.batch(DATA, number_of_batch=batch, options={"model": model})
    stored = [staged.put(DATA, key=f"in/i/{batch}/00000") for batch in names]

    assert staged.work(staged.received(*stored)) == set()

    assert [staged.file(0, batch).outcome["label"] for batch in names] == [CLASSES[1], "BRIGHT"]


def test_an_unknown_model_fails_the_file_and_a_broken_one_leaves_it_to_another_worker(
    aws: Account, settings: ServerSettings
) -> None:
    models = load_models(settings)
    staged = with_models(desk(aws, models["grey"]), models)
    missing, broken = "01J0000000000000000000000A", "01J0000000000000000000000B"
    staged.batch(DATA, number_of_batch=missing, options={"model": "other"})
    staged.batch(DATA, number_of_batch=broken, options={"model": "damaged"})
    stored = [staged.put(DATA, key=f"in/i/{batch}/00000") for batch in (missing, broken)]

    assert staged.work(staged.received(*stored)) == {"m1"}

    assert staged.file(0, missing).outcome["code"] == "request.invalid"
    assert staged.file(0, broken).state is FileState.PENDING
    staged.work(staged.received(stored[1], receives=5))  # alone: of two suspects one is sent back, either of them
    assert staged.file(0, broken).outcome["code"] == "batch.gave_up"


def test_the_worker_opens_with_all_models_and_not_without_its_default(
    aws: Account, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heatlens.errors import CardError

    for name, value in {"BUCKET": aws.settings.bucket, "TABLE": aws.settings.table, "MODELS_DIR": folder}.items():
        monkeypatch.setenv(f"HEATLENS_{name}", str(value))
    monkeypatch.setenv("HEATLENS_MODEL_DIR", str(folder / "grey"))
    assert list(batch_context.open_context().models.loaded) == ["grey", "colours"]

    monkeypatch.setenv("HEATLENS_MODEL_DIR", str(folder / "damaged"))
    with pytest.raises(CardError):
        batch_context.open_context()
