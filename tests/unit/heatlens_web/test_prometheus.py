"""`/metrics` of the plain server and of the endpoint: every metric of the list, and no label from a request."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from functions.endpoint.app import create_app as create_endpoint
from heatlens_aws.metrics import SERVER_METRICS
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.support.images import encoded, noise

SECRET = "Doe-Jane"


def plain(folder: Path) -> tuple[FastAPI, str]:
    return create_app(ServerSettings(model_dir=folder), deployment="server"), "/api/inference/heatmap"


def endpoint(folder: Path) -> tuple[FastAPI, str]:
    return create_endpoint(ServerSettings(model_dir=folder)), "/invocations"


@pytest.mark.parametrize("make", [plain, endpoint])
def test_every_metric_of_a_server_is_in_the_list_and_the_other_way(make: object, tiny_folder: Path) -> None:
    assert callable(make)
    app, path = make(tiny_folder)
    with TestClient(app) as client:
        picture = encoded(noise((8, 8)))
        assert client.post(path, content=picture, headers={"content-type": "image/png"}).status_code == 200
        assert client.post(path, content=b"x", headers={"content-type": "image/png"}).status_code == 400
        client.get(f"/{SECRET}?{SECRET}={SECRET}")
        response = client.get("/metrics")

    families = {each.name: each for each in text_string_to_metric_families(response.text)}
    ours = {name: family for name, family in families.items() if name.startswith("heatlens_")}
    assert set(ours) == {metric.name.removesuffix("_total") for metric in SERVER_METRICS}
    assert SECRET not in response.text
    for metric in SERVER_METRICS:
        labels = {label for sample in ours[metric.name.removesuffix("_total")].samples for label in sample.labels}
        assert labels - {"le"} == set(metric.labels)
    counted = {
        (s.labels["route"], s.labels["status"]): s.value
        for s in ours["heatlens_requests"].samples
        if s.name.endswith("_total")
    }
    assert counted == {(path, "2xx"): 1, (path, "4xx"): 1, ("other", "4xx"): 1}
    images = {s.labels["state"]: s.value for s in ours["heatlens_images"].samples if s.name.endswith("_total")}
    assert images["ok"] == 1
    assert next(s.value for s in ours["heatlens_pixels"].samples if s.name.endswith("_total")) == 64


def test_the_function_behind_the_gateway_has_no_such_route(tiny_folder: Path) -> None:
    with TestClient(create_app(ServerSettings(model_dir=tiny_folder), deployment="lambda")) as client:
        assert client.get("/metrics").status_code == 404
