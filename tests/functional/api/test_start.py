"""Startup errors: an HTTP server starts and reports them, a function's process ends at once with one line."""

import hashlib
import json
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from functions.endpoint.app import create_app as create_endpoint
from heatlens.card import SCHEMA_VERSION
from heatlens.engines.openvino import OpenVinoEngine
from heatlens.engines.resources import MEMORY_ENV
from heatlens_web.app import create_app as create_api
from heatlens_web.settings import ServerSettings
from tests.support.emulator import emulated
from tests.support.images import encoded, noise
from tests.support.staged import imported
from tests.support.tiny import write_tiny_model

Damage = Callable[[Path], None]
ACCOUNT = {"HEATLENS_BUCKET": "b", "HEATLENS_TABLE": "t", "AWS_DEFAULT_REGION": "us-east-1"}
IMAGE: Any = {"content": encoded(noise((8, 8))), "headers": {"content-type": "image/png"}}
API, WORKER, SWEEPER = "functions.api.handler", "functions.batch.handler", "functions.batch.sweeper"


def missing(folder: Path) -> None:
    pass


def altered(folder: Path) -> None:
    write_tiny_model(folder)
    with (folder / "trunk.onnx").open("r+b") as file:
        file.write(b"\0")


def of_another_format(folder: Path) -> None:
    """Write a file that has the digest of the card and is not a graph."""
    write_tiny_model(folder)
    (folder / "trunk.onnx").write_bytes(b"PK\x03\x04 weights")
    card = json.loads((folder / "card.json").read_text())
    card["layers"][0]["trunk"]["sha256"] = hashlib.sha256(b"PK\x03\x04 weights").hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


def of_a_newer_schema(folder: Path) -> None:
    write_tiny_model(folder)
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"schema_version": 99}))


DAMAGES: list[tuple[Damage, str]] = [
    (missing, "no readable card.json in the model folder 'model': compile one"),
    (altered, "trunk.onnx is not the file its card describes (sha256 differs): compile the model again"),
    (of_another_format, "trunk.onnx is not an ONNX graph: compile the model again"),
    (of_a_newer_schema, f"card.json has schema version 99, this code reads {SCHEMA_VERSION}: update heatlens"),
]


UNPROVEN: list[tuple[dict[str, Any], str]] = [
    ({"engine": "torch"}, "tiny has no weights for PyTorch: compile it again with --with-torch"),
    ({"precision": "int8"}, "'cells' has no trunk of 8 bits: compile the model again with --int8"),
    (
        {"precision": "bf16"},
        (
            "the card of tiny has no measured agreement for bf16 at 'cells': "
            "compile the model again on a processor that has bfloat16, or use f32"
        ),
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model"


@pytest.mark.parametrize(("settings", "reason"), UNPROVEN)
def test_reports_an_engine_or_precision_that_the_model_was_not_compiled_for(
    folder: Path, settings: dict[str, Any], reason: str
) -> None:
    write_tiny_model(folder)
    api = TestClient(
        create_api(ServerSettings(model_dir=folder, **settings), deployment="lambda"), raise_server_exceptions=False
    )

    assert api.get("/api/inference/health").json()["reason"] == reason
    assert api.post("/api/inference/heatmap", **IMAGE).status_code == 503


def test_gpu_available_is_true_if_the_engine_runs_on_a_gpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_model(folder)
    on = []
    for device in ("CPU", "CUDA"):
        monkeypatch.setattr(OpenVinoEngine, "device", device)
        api = TestClient(create_api(ServerSettings(model_dir=folder), deployment="lambda"))
        on.append(api.get("/api/inference/health").json()["gpu_available"])

    assert on == [False, True]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_the_api_starts_and_reports_a_damaged_model(folder: Path, damage: Damage, reason: str) -> None:
    damage(folder)
    api = TestClient(create_api(ServerSettings(model_dir=folder), deployment="lambda"), raise_server_exceptions=False)

    health = api.get("/api/inference/health").json()
    assert (health["status"], health["model_loaded"], health["reason"]) == ("unhealthy", False, reason)
    for answer in (
        api.get("/api/inference/ready"),
        api.post("/api/inference/heatmap", **IMAGE),
        api.post("/api/inference/heatmap-batch", **IMAGE),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "model.unavailable")
        assert answer.headers["retry-after"] == "30"


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_the_endpoint_starts_and_reports_a_damaged_model(folder: Path, damage: Damage, reason: str) -> None:
    damage(folder)
    endpoint = TestClient(create_endpoint(ServerSettings(model_dir=folder)), raise_server_exceptions=False)

    for answer in (endpoint.get("/ping"), endpoint.post("/invocations", **IMAGE)):
        assert (answer.status_code, answer.json()["code"]) == (503, "model.unavailable")
        assert answer.json()["detail"] == f"the model is not loaded: {reason}"


def test_rejects_a_model_too_large_for_the_memory_before_loading(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MEMORY_ENV, "128")
    api = TestClient(create_api(ServerSettings(model_dir=tiny_folder), deployment="lambda"))

    assert api.get("/api/inference/health").json()["reason"] == (
        "the model needs about 144 MiB of memory and there are 128: give the function or the container more, or "
        "compile a smaller model"
    )


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_the_worker_ends_with_one_line(
    folder: Path, damage: Damage, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    damage(folder)
    for name, value in (ACCOUNT | {"HEATLENS_MODEL_DIR": str(folder)}).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended:
        imported(WORKER)

    assert ended.value.code == 1
    [record] = caplog.records
    assert f"the function cannot start: {reason}" in record.message
    assert "\n" not in record.message


@pytest.mark.parametrize("function", [WORKER, SWEEPER])
@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"HEATLENS_BUCKET": ""}, "HEATLENS_BUCKET and HEATLENS_TABLE are required"),
        ({"HEATLENS_TABLE": ""}, "HEATLENS_BUCKET and HEATLENS_TABLE are required"),
        ({"HEATLENS_MAX_RECEIVES": "0"}, "HEATLENS_MAX_RECEIVES: Input should be greater than 0"),
        (
            {"AWS_SAM_LOCAL": "true", "HEATLENS_BUCKET": "Bucket", "HEATLENS_TABLE": "Table"},
            "under sam local there is no bucket: set HEATLENS_ENDPOINT_URL to the address of a local S3",
        ),
    ],
)
def test_a_function_without_its_account_ends_with_one_line(
    function: str,
    environment: dict[str, str],
    reason: str,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in (ACCOUNT | {"HEATLENS_MODEL_DIR": str(tiny_folder)} | environment).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit):
        imported(function)

    [record] = caplog.records
    assert record.message.startswith(f"the function cannot start: {reason}")


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"HEATLENS_FILES": "0"}, "HEATLENS_FILES: Input should be greater than 0"),
        ({"HEATLENS_CALL_FILES": "many"}, "HEATLENS_CALL_FILES: Input should be a valid integer"),
        ({"HEATLENS_MODELS_DIR": "/nowhere"}, "HEATLENS_MODELS_DIR: no folder 'nowhere' that can be read"),
    ],
)
def test_the_api_with_invalid_settings_ends_with_one_line(
    environment: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended:
        imported(API)

    assert ended.value.code == 1
    [record] = caplog.records
    assert record.message.startswith(f"the function cannot start: {reason}")
    assert "\n" not in record.message


def test_under_sam_local_the_api_has_no_staging(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (ACCOUNT | {"AWS_SAM_LOCAL": "true"}).items():
        monkeypatch.setenv(name, value)
    api = TestClient(create_api(ServerSettings(model_dir=tiny_folder), deployment="lambda"))

    answer = api.post("/api/inference/batches", json={"expected_files": 1})

    assert (answer.status_code, answer.json()["code"]) == (503, "staging.unavailable")
    assert "retry-after" not in answer.headers
    assert api.post("/api/inference/heatmap", **IMAGE).status_code == 200


@pytest.mark.parametrize(
    ("function", "environment", "reason"),
    [
        (WORKER, {"HEATLENS_MODEL_DIR": "/nowhere"}, "no readable card.json in the model folder 'nowhere'"),
        (WORKER, {MEMORY_ENV: "128"}, "the model needs about 148 MiB of memory and there are 128"),
        (SWEEPER, {"HEATLENS_BUCKET": ""}, "HEATLENS_BUCKET and HEATLENS_TABLE are required"),
        (API, {"HEATLENS_FILES": "many"}, "HEATLENS_FILES: Input should be a valid integer"),
    ],
)
def test_under_lambdas_own_runtime_the_init_phase_fails_with_one_line_and_no_traceback(
    function: str, environment: dict[str, str], reason: str, tmp_path: Path
) -> None:
    with emulated(f"{function}.handler", tmp_path, ACCOUNT | environment) as emulator:
        with pytest.raises(urllib.error.HTTPError) as refused:
            emulator.invoke(b"{}")
        refused.value.close()

    log, output = emulator.log.read_text(), emulator.output.read_text()
    assert "INIT RTDONE(status: error)" in log
    assert "INVOKE RTDONE" not in log
    [line] = [line for line in output.splitlines() if line and not line.startswith("START RequestId")]
    assert f"the function cannot start: {reason}" in line
    assert "Traceback" not in log
