"""Targets, contrast, methods, layers and smoothing at every entry point, on a model whose maps are known."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from functions.endpoint.app import create_app as create_endpoint
from functions.endpoint.attributes import CUSTOM_ATTRIBUTES
from heatlens.engines.openvino import OpenVinoEngine
from heatlens.explain.attribution import METHOD_NAMES, MethodOptions, attribute
from heatlens.explain.targets import TargetRequest
from heatlens.input.preprocess import preprocess
from heatlens.model import Model
from heatlens_cli.events.http_events import KINDS, LambdaContext, answer_json, heatmap_request
from heatlens_web.app import create_app
from heatlens_web.lambda_handler import create_handler
from heatlens_web.settings import ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.support.colors import CLASSES, GRIDS
from tests.support.images import encoded, noise
from tests.support.tiny import SIDE, WEIGHT

URL = "/api/inference/heatmap"
BATCH = "/api/inference/heatmap-batch"
PIXELS = np.asarray(noise((SIDE, SIDE))) // np.array([2, 1, 4], np.uint8)  # green is most, then red, then blue
DATA = encoded(Image.fromarray(PIXELS))
ORDER = [1, 0, 2]
Asked = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def client(colours_folder: Path) -> Iterator[TestClient]:
    app = create_app(ServerSettings(model_dir=colours_folder), deployment="server")
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def endpoint(colours_folder: Path) -> Iterator[TestClient]:
    with TestClient(create_endpoint(ServerSettings(model_dir=colours_folder)), raise_server_exceptions=False) as client:
        yield client


def evidence(index: int, grid: int = GRIDS["cells"]) -> Any:  # noqa: ANN401 - an array
    """Compute the map of a class by hand."""
    step = SIDE // grid
    cells = PIXELS[..., index].astype(np.float32).reshape(grid, step, grid, step).mean(axis=(1, 3)) / 255
    return cells * WEIGHT / grid**2


def values(map_answer: dict[str, Any]) -> Any:  # noqa: ANN401 - an array
    return np.frombuffer(base64.b64decode(map_answer["data_base64"]), "<f4").reshape(map_answer["shape"])


def ask(client: TestClient, query: str = "") -> Any:  # noqa: ANN401 - a response
    return client.post(f"{URL}?{query}", files={"file": ("a.png", DATA)})


def answered(client: TestClient, query: str = "") -> dict[str, Any]:
    response = ask(client, f"include=map&{query}")
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.mark.contract("predicted", "explained")
def test_without_a_target_the_predicted_class_is_explained_and_named(client: TestClient) -> None:
    body = answered(client)

    assert body["prediction"]["label"] == "GREEN, light"
    assert {name: body["explained"][name] for name in ("label", "index", "contrast")} == {
        "label": "GREEN, light",
        "index": 1,
        "contrast": None,
    }
    assert body["explained"]["logit"] == body["prediction"]["logit"]
    assert body["explanations"] is None
    assert values(body["map"]) == pytest.approx(evidence(1), rel=1e-5)


@pytest.mark.contract("logit", "target")
@pytest.mark.parametrize(
    ("written", "index"),
    [("RED", 0), ("GREEN, light", 1), ("0", 2), ("1", 1), ("2", 2), ("top-1", 1)],
)
def test_a_target_is_a_label_an_index_or_a_rank(client: TestClient, written: str, index: int) -> None:
    body = answered(client, f"target={quote(written)}")

    assert (body["explained"]["label"], body["explained"]["index"]) == (CLASSES[index], index)
    assert body["prediction"]["index"] == 1
    assert body["explained"]["probability"] == pytest.approx(
        float(np.exp(body["explained"]["logit"])) / sum(np.exp(WEIGHT * PIXELS[..., k].mean() / 255) for k in range(3)),
        rel=1e-4,
    )
    assert values(body["map"]) == pytest.approx(evidence(index), rel=1e-5)
    assert body["explanations"] is None


@pytest.mark.contract("target")
@pytest.mark.parametrize(("target", "index"), [("0", 2), (0, 0), ([0], 0), ([2], 2), ("1", 1), (["0"], 2)])
def test_in_json_a_number_is_an_index_and_text_is_a_label_first(client: TestClient, target: Any, index: int) -> None:  # noqa: ANN401
    image = base64.b64encode(DATA).decode()

    body = client.post(URL, json={"image_base64": image, "include": "map", "target": target}).json()

    assert body["explained"]["index"] == index


@pytest.mark.contract("target", "explanations")
@pytest.mark.parametrize("query", ["target=RED&target=2&target=top-1", "target=0&target=RED&target=top-3"])
def test_several_targets_are_explained_by_one_pass_of_the_trunk(
    client: TestClient, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    trunk = OpenVinoEngine.trunk

    def counted(engine: OpenVinoEngine, batch: Any) -> Any:  # noqa: ANN401 - as the engine's
        sizes.append(len(batch))
        return trunk(engine, batch)

    with monkeypatch.context() as patch:
        patch.setattr(OpenVinoEngine, "trunk", counted)
        body = ask(client, f"include=overlay,map&{query}").json()

    assert sizes == [1]
    indices = [each["index"] for each in body["explanations"]]
    assert indices == ([0, 2, 1] if query.endswith("top-1") else [2, 0, 1])
    for each in body["explanations"]:
        alone = ask(client, f"include=overlay,map&target={quote(each['label'])}").json()
        assert each["heatmap_base64"] == alone["heatmap_base64"]
        assert each["map"] == alone["map"]
        assert each["quality"] == alone["quality"]
        assert {name: each[name] for name in alone["explained"]} == alone["explained"]
    first = body["explanations"][0]
    assert (body["heatmap_base64"], body["map"], body["quality"]) == (
        first["heatmap_base64"],
        first["map"],
        first["quality"],
    )
    assert body["explained"]["index"] == indices[0]


def test_several_targets_that_are_the_same_class_are_still_a_list(client: TestClient) -> None:
    body = answered(client, f"target={quote('GREEN, light')}&target=top-1")

    assert [each["index"] for each in body["explanations"]] == [1]


def test_top_k_are_in_the_order_of_their_logits(client: TestClient) -> None:
    assert [each["index"] for each in answered(client, "target=top-3")["explanations"]] == ORDER
    assert [each["index"] for each in answered(client, "target=top-2")["explanations"]] == ORDER[:2]


@pytest.mark.contract("include")
def test_what_include_leaves_out_is_null_in_every_explanation(client: TestClient) -> None:
    for each in answered(client, "target=top-2")["explanations"]:
        assert each["heatmap_base64"] is None
        assert each["map"]


@pytest.mark.contract("target", "explained")
@pytest.mark.parametrize("target", ["RED|0", "0|RED|0", '["RED", "0"]', "RED|2"])
def test_a_group_of_classes_is_explained_as_one_target(client: TestClient, target: str) -> None:
    body = answered(client, f"target={quote(target)}")

    explained, members = body["explained"], body["explained"]["members"]
    assert (explained["label"], explained["index"], body["explanations"]) == ("RED|0", None, None)
    assert [member["index"] for member in members] == [0, 2]
    assert explained["logit"] == pytest.approx(sum(member["logit"] for member in members) / 2)
    assert explained["probability"] == pytest.approx(sum(member["probability"] for member in members))
    assert values(body["map"]) == pytest.approx((evidence(0) + evidence(2)) / 2, rel=1e-5)


@pytest.mark.contract("target")
def test_a_group_in_json_is_a_list_within_the_list_of_targets(client: TestClient) -> None:
    image = base64.b64encode(DATA).decode()

    body = client.post(URL, json={"image_base64": image, "include": "map", "target": [["RED", 2], 1]}).json()

    assert [each["label"] for each in body["explanations"]] == ["RED|0", "GREEN, light"]
    assert body["explanations"][1]["members"] is None


@pytest.mark.contract("contrast", "explained")
@pytest.mark.parametrize("contrast", ["RED", "0"])
def test_a_contrast_is_the_difference(client: TestClient, contrast: str) -> None:
    body = answered(client, f"contrast={contrast}")

    assert (body["explained"]["label"], body["explained"]["contrast"]) == ("GREEN, light", contrast)
    assert values(body["map"]) == pytest.approx(evidence(1) - evidence(CLASSES.index(contrast)), rel=1e-4, abs=1e-6)


@pytest.mark.contract("method")
@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("written", [quote, str], ids=["escaped", "as it is"])
def test_every_method_is_available_by_its_name(
    client: TestClient, colours_model: Model, method: str, written: Callable[[str], str]
) -> None:
    body = answered(client, f"method={written(method)}")

    tensor = preprocess(Image.fromarray(PIXELS), colours_model.card.preprocess)[None]
    [attributed] = attribute(
        colours_model.engine, colours_model.card, tensor, [TargetRequest(ranks=1)], MethodOptions(method)
    )
    assert body["model"]["method"] == method
    assert values(body["map"]) == pytest.approx(attributed.signed_maps[0], rel=1e-5, abs=1e-7)


@pytest.mark.contract("layer")
@pytest.mark.parametrize("layer", GRIDS)
def test_every_layer_of_the_card_can_be_requested(client: TestClient, layer: str) -> None:
    body = answered(client, f"layer={layer}")

    assert body["model"]["layer"] == layer
    assert values(body["map"]) == pytest.approx(evidence(1, GRIDS[layer]), rel=1e-5)


@pytest.mark.contract("smoothing")
@pytest.mark.parametrize("smoothing", ["eigen_smooth", "aug_smooth"])
def test_smoothing_changes_the_map(client: TestClient, smoothing: str) -> None:
    plain, smooth = values(answered(client)["map"]), values(answered(client, f"{smoothing}=true")["map"])

    assert smooth.shape == ((SIDE, SIDE) if smoothing == "aug_smooth" else plain.shape)
    assert not np.array_equal(smooth, plain)


ALL_OPTIONS = {
    "target": ["RED", "top-2"],
    "contrast": "0",
    "method": "gradcam++",
    "layer": "patches",
    "eigen_smooth": True,
    "include": "map,overlay",
    "colormap": "hot",
}


def query_of(options: dict[str, Any]) -> str:
    pairs = [
        (name, each) for name, value in options.items() for each in (value if isinstance(value, list) else [value])
    ]
    return "&".join(f"{name}={quote(str(value).lower() if value is True else str(value))}" for name, value in pairs)


def products(response: Any) -> dict[str, Any]:  # noqa: ANN401 - a response
    assert response.status_code == 200, response.text
    return {k: v for k, v in response.json().items() if k not in {"request_id", "processing_time_ms", "timings_ms"}}


@pytest.mark.contract("options in bodies")
def test_options_mean_the_same_in_query_body_and_header(client: TestClient, endpoint: TestClient) -> None:
    image = base64.b64encode(DATA).decode()
    raw = {"content-type": "image/png"}
    query = query_of(ALL_OPTIONS)

    by_query = products(client.post(f"{URL}?{query}", content=DATA, headers=raw))
    by_body = products(client.post(URL, json={"image_base64": image} | ALL_OPTIONS))
    by_header = products(endpoint.post("/invocations", content=DATA, headers=raw | {CUSTOM_ATTRIBUTES: query}))
    [item] = client.post(f"{BATCH}?{query}", files=[("files", ("unknown", DATA))]).json()["results"]

    assert by_query["model"]["method"] == "gradcam++"
    assert [each["label"] for each in by_query["explanations"]] == ["RED", "GREEN, light"]
    assert by_body == by_query
    assert by_header == by_query
    volatile = {"timings_ms", "processing_time_ms", "error", "code"}
    assert {k: v for k, v in item.items() if k not in volatile} == {k: v for k, v in by_query.items() if k != "model"}


@pytest.mark.contract("options in bodies")
def test_a_target_in_the_query_replaces_those_of_the_body(client: TestClient) -> None:
    image = base64.b64encode(DATA).decode()
    body = {"image_base64": image, "include": "map", "target": ["RED", "0"], "layer": "patches"}

    answer = client.post(f"{URL}?target=top-1", json=body).json()

    assert (answer["explained"]["index"], answer["explanations"], answer["model"]["layer"]) == (1, None, "patches")


@pytest.mark.contract("target")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "alb"])
def test_a_target_may_be_repeated_in_every_event(colours_folder: Path, kind: str) -> None:
    handler = create_handler(create_app(ServerSettings(model_dir=colours_folder), deployment="lambda"))
    event = KINDS[kind](heatmap_request("a.png", DATA, query="include=map&target=RED&target=0&method=gradcam%2B%2B"))

    answer = answer_json(handler(event, LambdaContext()))  # type: ignore[arg-type]

    assert [each["label"] for each in answer["explanations"]] == ["RED", "0"]
    assert answer["model"]["method"] == "gradcam++"


def test_the_overlay_itself_is_the_first_targets(client: TestClient) -> None:
    headers = {"accept": "image/png"}
    files = {"file": ("a.png", DATA)}

    answer = client.post(f"{URL}?target=0&target=RED&layer=patches", files=files, headers=headers)

    alone = ask(client, "target=0&layer=patches").json()
    assert answer.content == base64.b64decode(alone["heatmap_base64"])
    assert answer.headers["x-heatlens-explained"] == "0"
    assert answer.headers["x-heatlens-label"] == quote("GREEN, light")


COLORS = "a label ('RED', 'GREEN, light', '0'), 0 to 2, or top-1"
UNKNOWN = [
    ("target", "BLUE", f"target: 'BLUE' is no class of this model: {COLORS}"),
    ("target", "top-4", "target: top-4 of 3 classes"),
    ("target", "3", f"target: '3' is no class of this model: {COLORS}"),
    ("contrast", "BLUE", f"contrast: 'BLUE' is no class of this model: {COLORS}"),
    ("method", "magic", f"method: unknown method 'magic': one of {', '.join(METHOD_NAMES)}"),
    ("layer", "conv9", "layer: there is no layer 'conv9' in this model: it has cells, patches"),
]


@pytest.mark.contract("422")
@pytest.mark.parametrize(("name", "value", "detail"), UNKNOWN)
def test_the_error_of_an_unavailable_value_is_located_where_it_was_written(
    client: TestClient, endpoint: TestClient, name: str, value: str, detail: str
) -> None:
    image = base64.b64encode(DATA).decode()
    raw = {"content-type": "image/png"}

    answers = {
        ("query",): [ask(client, f"{name}={value}"), client.post(f"{BATCH}?{name}={value}", files={"files": DATA})],
        ("body",): [
            client.post(URL, json={"image_base64": image, name: value}),
            client.post(BATCH, json={"images": [{"image_base64": image}], name: value}),
        ],
        ("header", CUSTOM_ATTRIBUTES): [
            endpoint.post("/invocations", content=DATA, headers=raw | {CUSTOM_ATTRIBUTES: f"{name}={value}"})
        ],
    }

    for place, responses in answers.items():
        for response in responses:
            body = problem(response, 422, "request.invalid")
            assert body["detail"] == detail
            [error] = body["errors"]
            assert error["loc"] == [*place, name]
            assert set(error) == {"loc", "msg", "type"}


def test_an_error_in_the_body_is_located_there_beside_other_query_options(client: TestClient) -> None:
    body = {"image_base64": base64.b64encode(DATA).decode(), "layer": "conv9", "method": "magic"}
    by_query = client.post(f"{URL}?method=other&layer=cells", json=body)

    problem_of_method = problem(by_query, 422, "request.invalid")
    problem_of_layer = problem(client.post(f"{URL}?method=gradcam", json=body), 422, "request.invalid")

    assert problem_of_method["errors"][0]["loc"] == ["query", "method"]
    assert problem_of_layer["errors"][0]["loc"] == ["body", "layer"]


@pytest.mark.parametrize("value", [True, 1.5, -1, None, [[]], {"a": 1}, [None]])
def test_rejects_a_target_that_is_neither_text_nor_index(client: TestClient, value: object) -> None:
    body = {"image_base64": base64.b64encode(DATA).decode(), "target": value}

    error = problem(client.post(URL, json=body), 422, "request.invalid")

    assert error["errors"][0]["loc"][:2] == ["body", "target"]
    assert len(error["errors"]) <= 3


@pytest.mark.parametrize(
    "wrong", [{"alpha": "0.5"}, {"eigen_smooth": 0}, {"aug_smooth": "true"}, {"threshold": "1"}, {"layer": 7}]
)
def test_json_has_numbers_and_booleans_and_a_query_has_text(client: TestClient, wrong: dict[str, Any]) -> None:
    image = base64.b64encode(DATA).decode()
    [(name, value)] = wrong.items()

    error = problem(client.post(URL, json={"image_base64": image} | wrong), 422, "request.invalid")

    assert error["errors"][0]["loc"] == ["body", name]
    assert name == "layer" or ask(client, f"{name}={value}").status_code == 200


@pytest.mark.provokes("limit.targets")
@pytest.mark.parametrize("more", [0, 1])
def test_the_limit_of_targets_is_exact(colours_folder: Path, more: int) -> None:
    client = TestClient(create_app(ServerSettings(model_dir=colours_folder, targets=2), deployment="server"))

    response = ask(client, f"target=top-{2 + more}")

    if more:
        assert problem(response, 413, "limit.targets")["detail"].startswith("3 targets for each image, over the limit")
    else:
        assert response.status_code == 200


@pytest.mark.provokes("limit.passes")
@pytest.mark.parametrize("more", [0, 1])
def test_the_limit_of_passes_is_exact(colours_folder: Path, more: int) -> None:
    # Three channels and the image itself, for each of two images.
    client = TestClient(create_app(ServerSettings(model_dir=colours_folder, passes=8 - more), deployment="server"))
    files = [("files", ("a.png", DATA))] * 2

    response = client.post(f"{BATCH}?method=scorecam", files=files)

    if more:
        error = problem(response, 413, "limit.passes")
        assert error["detail"].startswith("scorecam runs the network 4 times for an image, 8 times for this request")
    else:
        assert response.json()["succeeded"] == 2
