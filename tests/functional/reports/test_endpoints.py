"""What clients of SageMaker and KServe send by habit: situations from public reports."""

import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from functions.endpoint import attributes
from functions.endpoint.app import create_app
from functions.endpoint.attributes import CUSTOM_ATTRIBUTES
from heatlens.card import Preprocess
from heatlens.settings import MIB
from heatlens_web.app import create_app as create_api
from heatlens_web.rate_limited_log import RateLimitedLog
from heatlens_web.settings import ServerSettings
from tests.support.images import encoded, noise
from tests.support.slow_clients import read_to_end, running, status
from tests.support.tiny import SIDE, write_tiny_model

IMAGE = encoded(noise((30, 20)))
TEXT = base64.b64encode(IMAGE).decode()


@pytest.fixture(scope="module")
def endpoint(tiny_folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app(ServerSettings(model_dir=tiny_folder)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def server(tiny_folder: Path) -> Iterator[TestClient]:
    app = create_api(ServerSettings(model_dir=tiny_folder), deployment="server")
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def invoke(client: TestClient, content: bytes | Any, **headers: str) -> Any:  # noqa: ANN401 - httpx
    """Send an invocation: bytes as an image, anything else as JSON."""
    kind, body = ("image/png", content) if isinstance(content, bytes) else ("application/json", json.dumps(content))
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/invocations", content=body, headers={"content-type": kind} | sent)


def products(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return {k: v for k, v in body.items() if k not in {"request_id", "processing_time_ms", "timings_ms"}}


def problem(answer: Any, status: int, code: str) -> Any:  # noqa: ANN401 - httpx
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return answer.json()


def test_the_platforms_own_image_type_is_an_image(endpoint: TestClient, server: TestClient) -> None:
    answer = invoke(endpoint, IMAGE, content_type="application/x-image")
    of_api = server.post("/api/inference/heatmap", content=IMAGE, headers={"content-type": "application/x-image"})

    assert products(answer) == products(of_api) == products(invoke(endpoint, IMAGE))


FORMS: dict[str, Any] = {
    "Hugging Face": {"inputs": TEXT},
    "Hugging Face's list": {"inputs": [TEXT]},
    "TensorFlow Serving": {"instances": [{"b64": TEXT}]},
    "TensorFlow Serving with a named input": {"instances": [{"image_bytes": {"b64": TEXT}}]},
    "TorchServe": {"data": TEXT},
    "TorchServe's other key": {"body": TEXT},
    "TorchServe behind KServe": {"instances": [{"data": TEXT}]},
    "a list of texts": {"instances": [TEXT]},
    "an input by name": {"inputs": {"image": TEXT}},
}


@pytest.mark.parametrize("body", FORMS.values(), ids=list(FORMS))
@pytest.mark.parametrize("options", [{"colormap": "hot"}, {"parameters": {"colormap": "hot"}}])
def test_an_image_in_another_servers_form_is_read(
    endpoint: TestClient, body: dict[str, Any], options: dict[str, Any]
) -> None:
    assert products(invoke(endpoint, body | options)) == products(
        invoke(endpoint, {"image_base64": TEXT, "colormap": "hot"})
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"instances": [{"b64": TEXT}, {"b64": TEXT}]}, "instances has 2 images: send one in each request"),
        ({"instances": []}, "instances has 0 images: send one in each request"),
        ({"inputs": 1}, "inputs has no image: write its base64 as a text, or under 'b64'"),
        ({"inputs": [[0, 0], [0, 0]]}, "inputs has 2 images: send one in each request"),
        ({"instances": [{"b64": TEXT, "label": 1}]}, "instances has no image"),
        ({"inputs": TEXT, "colourmap": "hot"}, "unknown name; did you mean 'colormap'?"),
        ({"inputs": TEXT, "parameters": {"colourmap": "hot"}}, "unknown name; did you mean 'colormap'?"),
        ({"inputs": TEXT, "data": TEXT}, "unknown name"),
        ({"inputs": TEXT, "parameters": 1}, "unknown name"),
        ([TEXT], "Input should be an object"),
    ],
)
def test_a_form_that_is_not_plain_is_refused_by_name(endpoint: TestClient, body: object, message: str) -> None:
    error = problem(invoke(endpoint, body), 422, "request.invalid")

    assert message in error["errors"][0]["msg"]
    assert error["errors"][0]["loc"][0] == "body"


@pytest.mark.parametrize("instance", [TEXT, {"b64": TEXT}, {"data": TEXT}, {"image_bytes": {"b64": TEXT}, "key": "1"}])
@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_kserves_instances_have_the_same_forms(server: TestClient, verb: str, instance: object) -> None:
    url = f"/v1/models/tiny:{verb}"
    expected = server.post(url, json={"instances": [{"image_bytes": {"b64": TEXT}}]}).json()

    answer = server.post(url, json={"instances": [instance]})

    assert answer.status_code == 200, answer.text
    assert [each["label"] for each in map(_prediction, answer.json()["predictions"])] == [
        each["label"] for each in map(_prediction, expected["predictions"])
    ]


def _prediction(entry: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = entry.get("prediction", entry)
    return found


OTHERS = [
    "c000b4f9-df62-4c85-a0bf-7c525f9104a4",  # the example in the platform's own documentation
    "tfs-model-name=other,tfs-method=predict",  # TensorFlow Serving's container
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "traceparent=00-4bf92f35&tracestate=vendor:1",
    '{"trace": "1"}',
    "Root=1-67891233-abcdef012345678912345678;Sampled=1",
    "eula=true",
    "&&",
]


@pytest.mark.parametrize("text", OTHERS)
def test_another_programs_attributes_are_ignored_with_a_line_in_the_log(
    endpoint: TestClient, text: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("ignored")
    caplog.set_level(logging.WARNING, logger="ignored")
    monkeypatch.setattr(attributes, "_ignored", RateLimitedLog(log, "ignored", level=logging.WARNING))

    answer = invoke(endpoint, IMAGE, **{CUSTOM_ATTRIBUTES: text})

    assert products(answer) == products(invoke(endpoint, IMAGE))
    assert [record.levelname for record in caplog.records if record.name == "ignored"] == ["WARNING"]
    assert text not in caplog.text


@pytest.mark.parametrize(
    "text",
    ["colourmap=hot", "trace=1&colormap=hot", "colormap:hot", "trace=1;colormap=hot", '{"colormap": "hot"}', "Alpha=1"],
)
def test_attributes_that_mean_an_option_are_not_ignored(endpoint: TestClient, text: str) -> None:
    error = problem(invoke(endpoint, IMAGE, **{CUSTOM_ATTRIBUTES: text}), 422, "request.invalid")

    assert error["errors"][0]["loc"][:2] == ["header", CUSTOM_ATTRIBUTES]


@pytest.mark.provokes("request.not_acceptable")
@pytest.mark.parametrize(
    "accept", ["text/csv", "application/x-npy", "application/jsonlines", "image/gif", "application/json;q=0", "text/*"]
)
def test_an_accept_header_that_cannot_be_met_is_406_before_the_image_is_read(endpoint: TestClient, accept: str) -> None:
    error = problem(invoke(endpoint, b"no image", accept=accept), 406, "request.not_acceptable")

    assert "application/json, image/png, image/jpeg, image/webp" in error["detail"]


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "text/csv, application/*;q=0.1", "image/*"])
def test_an_accept_header_that_can_be_met_is(endpoint: TestClient, accept: str) -> None:
    assert invoke(endpoint, IMAGE, accept=accept).status_code == 200


@pytest.mark.parametrize(
    ("settings", "concurrent", "megabytes"),
    [
        ({}, 2, 50),
        ({"file_bytes": 6 * MIB}, 16, 6),
        ({"file_bytes": MIB // 2}, 32, 1),
        ({"file_bytes": 900 * MIB}, 1, 100),
    ],
)
def test_a_batch_transform_is_told_what_the_endpoint_takes(
    tiny_folder: Path, settings: dict[str, int], concurrent: int, megabytes: int
) -> None:
    client = TestClient(create_app(ServerSettings.model_validate({"model_dir": tiny_folder} | settings)))

    answer = client.get("/execution-parameters").json()

    # The platform refuses a job whose records at once have more than 100 MB.
    assert answer == {
        "MaxConcurrentTransforms": concurrent,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": megabytes,
    }
    assert concurrent * megabytes <= 100


def tensors(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx
    assert answer.status_code == 200, answer.text
    return {output["name"]: output for output in answer.json()["outputs"]}


def infer(client: TestClient, *names: str, data: Any = None, query: str = "", **more: Any) -> Any:  # noqa: ANN401
    data = [TEXT] if data is None else data
    inputs = [{"name": "image", "shape": [len(data)], "datatype": "BYTES", "data": data}]
    wanted = {"outputs": [{"name": name} for name in names]} if names else {}
    return client.post(f"/v2/models/tiny/infer{query}", json={"inputs": inputs} | wanted | more)


@pytest.mark.contract("KServe V2")
def test_health_and_metadata_of_the_open_inference_protocol(server: TestClient) -> None:
    assert server.get("/v2/health/live").json() == {"live": True}
    assert server.get("/v2/health/ready").json() == {"ready": True}
    assert server.get("/v2").json() | {"version": ""} == {"name": "heatlens", "version": "", "extensions": []}
    assert server.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    metadata = server.get("/v2/models/tiny").json()
    assert metadata["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert {"name": "saliency_map", "datatype": "FP32", "shape": [-1, -1, -1]} in metadata["outputs"]
    problem(server.get("/v2/models/other/ready"), 404, "model.not_found")


def test_a_server_without_a_model_lives_and_is_not_ready(tmp_path: Path) -> None:
    client = TestClient(create_api(ServerSettings(model_dir=tmp_path / "none"), deployment="server"))

    assert client.get("/v2/health/live").status_code == 200
    problem(client.get("/v2/health/ready"), 503, "model.unavailable")
    problem(client.get("/v2/models/none/ready"), 503, "model.unavailable")


@pytest.mark.contract("KServe V2")
def test_a_map_is_an_output_tensor(server: TestClient) -> None:
    other = base64.b64encode(encoded(noise((40, 50)))).decode()
    query = "include=map,overlay&method=layercam"
    expected = [
        server.post(f"/api/inference/heatmap?{query}", json={"image_base64": text}).json() for text in (TEXT, other)
    ]
    names = ["saliency_map", "label", "probability", "logit", "probabilities", "box", "part", "quality", "heatmap"]

    answer = infer(server, *names, data=[TEXT, other], parameters={"method": "layercam"}, id="mine")

    outputs = tensors(answer)
    assert (answer.json()["id"], answer.json()["model_name"], list(outputs)) == ("mine", "tiny", names)
    height, width = expected[0]["map"]["shape"]
    assert (outputs["saliency_map"]["shape"], outputs["saliency_map"]["datatype"]) == ([2, height, width], "FP32")
    maps = [np.frombuffer(base64.b64decode(each["map"]["data_base64"]), "<f4") for each in expected]
    assert np.array_equal(np.float32(outputs["saliency_map"]["data"]), np.concatenate(maps))
    assert outputs["label"]["data"] == [each["prediction"]["label"] for each in expected]
    assert outputs["probability"]["data"] == [each["prediction"]["probability"] for each in expected]
    assert outputs["logit"]["data"] == [each["prediction"]["logit"] for each in expected]
    assert outputs["quality"]["data"] == [each["quality"] for each in expected]
    assert outputs["box"]["data"] == [side for each in expected for side in each["box"]]
    assert (outputs["part"]["data"], outputs["part"]["shape"]) == ([0, 0, 1, 1] * 2, [2, 4])
    assert outputs["heatmap"]["data"] == [each["heatmap_base64"] for each in expected]
    assert outputs["heatmap"]["parameters"] == {"content_type": "base64", "media_type": "image/png"}
    assert outputs["probabilities"]["shape"][0] == 2
    assert sum(outputs["probabilities"]["data"]) == pytest.approx(2, abs=1e-4)


def test_without_named_outputs_there_are_class_map_and_quality(server: TestClient) -> None:
    answer = infer(server, parameters={"content_type": "base64"})

    assert list(tensors(answer)) == ["label", "probability", "saliency_map", "box", "part", "quality"]
    assert answer.json()["id"] == answer.json()["parameters"]["request_id"]


@pytest.mark.contract("KServe", "KServe V2")
def test_both_protocols_say_which_part_of_a_padded_map_lies_over_the_image(tmp_path: Path) -> None:
    steps = [{"step": "resize", "size": SIDE, "fit": "longest"}, {"step": "pad", "size": SIDE}, {"step": "scale"}]
    folder = write_tiny_model(tmp_path / "tiny", preprocess=Preprocess.model_validate({"steps": steps}))
    text = base64.b64encode(encoded(noise((64, 32)))).decode()
    with TestClient(create_api(ServerSettings(model_dir=folder), deployment="server")) as client:
        expected = client.post("/api/inference/heatmap?include=map", json={"image_base64": text}).json()
        tensor = tensors(infer(client, data=[text]))["part"]
        instances = {"instances": [{"image_bytes": {"b64": text}}], "include": ["map"]}
        [explanation] = client.post("/v1/models/tiny:explain", json=instances).json()["explanations"]

    assert expected["part"] == [0, 0.25, 1, 0.75]
    assert (tensor["data"], tensor["datatype"]) == (expected["part"], "FP32")
    assert (explanation["part"], explanation["map"]["part"]) == (expected["part"], expected["part"])


def test_outputs_that_need_no_map_compute_none(server: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatlens_web.state.explain", None)

    assert list(tensors(infer(server, "probabilities", "label"))) == ["probabilities", "label"]


@pytest.mark.parametrize(
    ("change", "status", "code", "detail"),
    [
        ({"inputs": []}, 422, "request.invalid", "inputs"),
        ({"outputs": [{"name": "attention"}]}, 422, "request.invalid", "outputs"),
        ({"parameters": {"colourmap": "hot"}}, 422, "request.invalid", "did you mean 'colormap'?"),
        ({"parameters": {"inputs": []}}, 422, "request.invalid", "parameters: inputs is no option"),
        ({"parameters": {"target": ["top-2"]}}, 422, "request.invalid", "one target in a request"),
        ({"parameters": {"alpha": 7}}, 422, "request.invalid", "alpha"),
        ({"parameters": 1}, 422, "request.invalid", "parameters"),
        (
            {"inputs": [{"name": "i", "shape": [2], "datatype": "BYTES", "data": [TEXT]}]},
            422,
            "request.invalid",
            "shape",
        ),
        (
            {"inputs": [{"name": "i", "shape": [1], "datatype": "UINT8", "data": [0]}]},
            422,
            "request.invalid",
            "'BYTES'",
        ),
    ],
)
def test_a_wrong_inference_is_refused_by_name(
    server: TestClient, change: dict[str, Any], status: int, code: str, detail: str
) -> None:
    assert detail in json.dumps(problem(infer(server, **change), status, code), ensure_ascii=False)


def test_the_protocols_binary_data_and_a_bad_image_are_refused(server: TestClient) -> None:
    binary = {"content-type": "application/octet-stream", "inference-header-content-length": "10"}

    problem(
        server.post("/v2/models/tiny/infer", content=b"{}", headers=binary), 415, "request.unsupported_content_type"
    )
    bad = base64.b64encode(b"text").decode()
    assert problem(infer(server, data=[TEXT, bad]), 400, "input.unsupported")["detail"].startswith("instance 1: ")


@pytest.mark.parametrize("data", [[[TEXT]], [TEXT]])
def test_rows_of_one_are_images_too(server: TestClient, data: list[Any]) -> None:
    assert tensors(infer(server, "label", data=data))["label"]["shape"] == [1]


def test_forty_stalled_uploads_do_not_block_the_endpoint_and_end(tiny_folder: Path) -> None:
    with running("endpoint", tiny_folder, HEATLENS_IN_FLIGHT="32") as served:
        stalled = [served.begin_upload() for _ in range(40)]
        with served.connect() as client:
            client.sendall(served.head(len(IMAGE), more="connection: close\r\n") + IMAGE)
            assert status(read_to_end(client)) == 200
        assert [status(read_to_end(client)) for client in stalled] == [408] * 40
        for client in stalled:
            client.close()
