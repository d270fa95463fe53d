"""A client that knows only the base contract can read every response: its schema stands here, frozen."""

import base64
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.support.images import encoded, noise

NUMBER = (int, float)
NONE = type(None)
HEATMAP: dict[str, Any] = {
    "success": bool,
    "filename": str,
    "heatmap_base64": str,
    "original_image_base64": str,
    "processing_time_ms": NUMBER,
}
ITEM: dict[str, Any] = {
    "filename": str,
    "success": bool,
    "heatmap_base64": (str, NONE),
    "original_image_base64": (str, NONE),
    "error": (str, NONE),
    "processing_time_ms": NUMBER,
}
BATCH: dict[str, Any] = {"success": bool, "results": list, "total_processing_time_ms": NUMBER}
HEALTH: dict[str, Any] = {
    "status": str,
    "model_loaded": bool,
    "gpu_available": bool,
    "model_version": (str, NONE),
}


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(create_app(ServerSettings(), deployment="lambda"))


def fits(body: dict[str, Any], schema: dict[str, Any]) -> bool:
    return all(name in body and isinstance(body[name], kind) for name, kind in schema.items())


@pytest.mark.contract("frozen schema", "base64")
def test_heatmap(client: TestClient) -> None:
    body = client.post("/api/inference/heatmap", files={"file": ("a.png", encoded(noise((8, 8))))}).json()

    assert fits(body, HEATMAP)
    assert base64.b64decode(body["heatmap_base64"], validate=True).startswith(b"\x89PNG")


@pytest.mark.contract("batch answer", "frozen schema")
def test_batch(client: TestClient) -> None:
    files = [("files", ("a.png", encoded(noise((8, 8))))), ("files", ("b.png", b"no image"))]

    body = client.post("/api/inference/heatmap-batch", files=files).json()

    assert fits(body, BATCH)
    assert all(fits(item, ITEM) for item in body["results"])
    assert [item["success"] for item in body["results"]] == [True, False]


@pytest.mark.contract("health", "frozen schema")
def test_health(client: TestClient) -> None:
    body = client.get("/api/inference/health").json()

    assert fits(body, HEALTH)
    assert body["status"] == "healthy"


@pytest.mark.contract("schema names")
def test_openapi_describes_the_schemas_of_the_base_contract(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    schemas = document["components"]["schemas"]
    for name, fields in {"HeatmapResponse": HEATMAP, "BatchHeatmapItem": ITEM, "BatchHeatmapResponse": BATCH}.items():
        assert set(fields) <= set(schemas[name]["properties"])
    parameters = {
        each["name"]: each["schema"] for each in document["paths"]["/api/inference/heatmap"]["post"]["parameters"]
    }
    assert parameters["colormap"]["default"] == "jet"
    assert (parameters["alpha"]["default"], parameters["alpha"]["minimum"], parameters["alpha"]["maximum"]) == (
        0.4,
        0.1,
        0.9,
    )
    assert "#/$defs" not in json.dumps(document)
