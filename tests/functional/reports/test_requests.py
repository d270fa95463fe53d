"""Requests as people send them: each gets the right answer, or an error that says what is wrong."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from functions.endpoint.app import CUSTOM_ATTRIBUTES
from functions.endpoint.app import create_app as create_endpoint
from heatlens.errors import InvalidOption
from heatlens.explainer import Explainer
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.functional.api.test_options import PIXELS
from tests.support.aws import Account
from tests.support.images import encoded

API = "/api/inference"
IMAGES = ["heatmap", "heatmap-batch", "predict", "predict-batch"]
DATA = encoded(Image.fromarray(PIXELS))
TEXT = base64.b64encode(DATA).decode()
INSTANCES: dict[str, Any] = {"instances": [{"image_bytes": {"b64": TEXT}}]}


@pytest.fixture(scope="module")
def client(colours_folder: Path) -> Iterator[TestClient]:
    """A client of the plain server."""
    app = create_app(ServerSettings(model_dir=colours_folder), deployment="server")
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def endpoint(colours_folder: Path) -> Iterator[TestClient]:
    with TestClient(create_endpoint(ServerSettings(model_dir=colours_folder)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def staged(colours_folder: Path, aws: Account, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A client of a server with staged batches."""
    monkeypatch.setenv("HEATLENS_BUCKET", aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", aws.settings.table)
    app = create_app(ServerSettings(model_dir=colours_folder), deployment="lambda")
    return TestClient(app, raise_server_exceptions=False)


def field_of(route: str) -> str:
    return "files" if route.endswith("batch") else "file"


def body_of(route: str) -> dict[str, Any]:
    return {"images": [{"image_base64": TEXT}]} if route.endswith("batch") else {"image_base64": TEXT}


def post_form(client: TestClient, route: str, query: str = "", **fields: Any) -> Any:  # noqa: ANN401 - a response
    return client.post(f"{API}/{route}{query}", files={field_of(route): ("a.png", DATA)}, data=fields)


def mistake(response: Any) -> tuple[list[str], str, str]:  # noqa: ANN401 - a response
    """Assert that a response names one mistake in a name, and return its place, message and the whole sentence."""
    body = problem(response, 422, "request.invalid")
    [error] = body["errors"]
    assert error["type"] == "unknown_name"
    return error["loc"], error["msg"], body["detail"]


def overlay(response: Any) -> str:  # noqa: ANN401 - a response
    assert response.status_code == 200, response.text
    body = response.json()
    text: str = (body["results"][0] if "results" in body else body)["heatmap_base64"]
    return text


# Misspelled options


@pytest.mark.parametrize("route", IMAGES)
@pytest.mark.parametrize(("written", "meant"), [("modle", "model"), ("Window", "window"), ("window_", "window")])
def test_a_misspelled_option_is_refused_and_the_right_name_given(
    client: TestClient, route: str, written: str, meant: str
) -> None:
    advice = f"unknown name; did you mean {meant!r}?"
    by_query = post_form(client, route, f"?{written}=1,2")
    by_form = post_form(client, route, **{written: "1,2"})
    by_body = client.post(f"{API}/{route}", json=body_of(route) | {written: "1,2"})

    assert mistake(by_query) == (["query", written], advice, f"{written}: {advice}")
    assert mistake(by_form) == (["body", written], advice, f"{written}: {advice}")
    assert mistake(by_body) == (["body", written], advice, f"{written}: {advice}")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("colourmap", "colormap"),
        ("Include", "include"),
        ("eigen-smooth", "eigen_smooth"),
        ("augSmooth", "aug_smooth"),
        ("targets", "target"),
        ("threshhold", "threshold"),
    ],
)
def test_spellings_of_other_tools_and_languages_lead_to_the_option(
    client: TestClient, endpoint: TestClient, written: str, meant: str
) -> None:
    raw = {"content-type": "image/png"}
    answers = [
        post_form(client, "heatmap", f"?{written}=hot"),
        post_form(client, "heatmap", **{written: "hot"}),
        client.post(f"/v1/models/colours:explain?{written}=hot", json=INSTANCES),
        client.post("/v1/models/colours:explain", json=INSTANCES | {written: "hot"}),
        endpoint.post("/invocations", content=DATA, headers=raw | {CUSTOM_ATTRIBUTES: f"alpha=0.5&{written}=hot"}),
        endpoint.post("/invocations", json={"image_base64": TEXT, written: "hot"}),
    ]

    for answer in answers:
        assert mistake(answer)[1] == f"unknown name; did you mean {meant!r}?"


def test_a_name_that_resembles_no_option_gets_the_list_of_them(client: TestClient) -> None:
    _, _, sentence = mistake(post_form(client, "predict", "?softmax=true"))

    assert sentence == "softmax: unknown name; known are model, window"


def test_an_option_of_the_heatmap_is_refused_where_there_is_none(client: TestClient) -> None:
    assert mistake(post_form(client, "predict", "?colormap=hot"))[0] == ["query", "colormap"]
    assert mistake(post_form(client, "predict-batch", alpha="0.5"))[0] == ["body", "alpha"]
    assert mistake(client.post(f"{API}/predict", json=body_of("predict") | {"target": "RED"}))[0] == ["body", "target"]


def test_an_option_inside_one_image_of_a_batch_is_not_silently_dropped(client: TestClient) -> None:
    body = {"images": [{"image_base64": TEXT}, {"image_base64": TEXT, "colormap": "hot"}]}
    loc, _, sentence = mistake(client.post(f"{API}/heatmap-batch", json=body))

    assert loc == ["body", "images", 1, "colormap"]
    assert sentence == "images.1.colormap: unknown name; known are image_base64, filename"
    instances = {"instances": [{"image_bytes": {"b64": TEXT}, "target": "RED"}]}
    assert mistake(client.post("/v1/models/colours:explain", json=instances))[0][-2:] == [0, "target"]


@pytest.mark.parametrize("path", ["health", "ready", "models"])
def test_a_query_that_an_address_does_not_take_is_refused(client: TestClient, path: str) -> None:
    loc, message, _ = mistake(client.get(f"{API}/{path}?model=colours"))

    assert (loc, message) == (["query", "model"], "unknown name; none is known here")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/colours"])
def test_kserves_addresses_refuse_a_query_too(client: TestClient, path: str) -> None:
    assert mistake(client.get(f"{path}?name=other"))[0] == ["query", "name"]


def test_the_endpoint_refuses_options_in_a_query_which_it_does_not_read(endpoint: TestClient) -> None:
    raw = {"content-type": "image/png"}

    assert mistake(endpoint.post("/invocations?colormap=hot", content=DATA, headers=raw))[0] == ["query", "colormap"]
    assert mistake(endpoint.get("/ping?verbose=1"))[0] == ["query", "verbose"]


def test_a_staged_batch_refuses_names_that_it_does_not_know(staged: TestClient) -> None:
    url = f"{API}/batches"
    batch = staged.post(url, json={"expected_files": 1}).json()["batch_id"]
    file = {"name": "a.png", "size": 1, "sha256": "0" * 64, "media_type": "image/png"}

    assert mistake(staged.post(url, json={"expected_files": 1, "colourmap": "hot"}))[0] == ["body", "colourmap"]
    assert mistake(staged.post(f"{url}?alpha=0.5", json={"expected_files": 1}))[0] == ["query", "alpha"]
    declared = staged.post(f"{url}/{batch}/files", json={"files": [file | {"mediatype": "x"}]})
    assert mistake(declared)[0] == ["body", "files", 0, "mediatype"]
    assert mistake(staged.get(f"{url}/{batch}?batch_id=other"))[0] == ["query", "batch_id"]
    assert mistake(staged.get(f"{url}/{batch}/results?offset=1"))[0] == ["query", "offset"]
    # Taken for a cancellation, this would leave what was to be erased.
    assert mistake(staged.delete(f"{url}/{batch}?Purge=true"))[1] == "unknown name; did you mean 'purge'?"
    assert staged.get(f"{url}/{batch}").json()["state"] == "open"


def test_a_call_that_takes_no_body_refuses_one(staged: TestClient) -> None:
    url = f"{API}/batches"
    batch = staged.post(url, json={"expected_files": 1}).json()["batch_id"]

    problem(staged.post(f"{url}/{batch}/close", json={"force": True}), 400, "request.malformed")
    assert staged.post(f"{url}/{batch}/close", json={}).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["_", "utm_source", "X-Amz-Signature", "x-amz-security-token", "access_token", "token", "api_key", "apikey"],
)
def test_names_that_gateways_and_browsers_add_are_ignored(client: TestClient, name: str) -> None:
    expected = overlay(post_form(client, "heatmap"))

    assert overlay(post_form(client, "heatmap", f"?{name}=1")) == expected
    assert overlay(post_form(client, "heatmap", **{name: "1"})) == expected
    assert client.get(f"{API}/health?{name}=1").status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/static/page.js"])
def test_pages_and_files_take_any_query(client: TestClient, path: str) -> None:
    assert client.get(f"{path}?v=3").status_code == 200


def test_many_or_long_unknown_names_get_a_short_answer(client: TestClient) -> None:
    names = {f"x{number}" + "y" * 3000: "1" for number in range(50)}
    many = problem(post_form(client, "heatmap", **names), 422, "request.invalid")
    in_json = client.post(f"{API}/heatmap", json=body_of("heatmap") | names)

    assert len(many["errors"]) == 10
    assert len(mistake(in_json)[0][1]) == 80
    assert len(in_json.content) < 2000


# Form fields


@pytest.mark.contract("options in bodies")
@pytest.mark.parametrize("route", ["heatmap", "heatmap-batch"])
def test_a_form_field_beside_the_file_is_an_option(client: TestClient, route: str) -> None:
    by_form = post_form(client, route, colormap="hot", alpha="0.7", include="overlay,map", target=["RED", "0"])
    by_query = post_form(client, route, "?colormap=hot&alpha=0.7&include=overlay,map&target=RED&target=0")

    assert overlay(by_form) == overlay(by_query) != overlay(post_form(client, route))
    body = by_form.json()
    labels = [each["label"] for each in (body["results"][0] if "results" in body else body)["explanations"]]
    assert labels == ["RED", "0"]


@pytest.mark.contract("options in bodies")
def test_the_query_wins_over_form_fields(client: TestClient) -> None:
    both = post_form(client, "heatmap", "?colormap=viridis", colormap="hot", alpha="0.9")

    assert overlay(both) == overlay(post_form(client, "heatmap", "?colormap=viridis&alpha=0.9"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("alpha", "99"), ("colormap", "nope"), ("method", "nonsense"), ("target", "BLUE"), ("layer", "x")],
)
def test_a_wrong_value_in_a_form_field_is_refused_there(client: TestClient, name: str, value: str) -> None:
    body = problem(post_form(client, "heatmap", **{name: value}), 422, "request.invalid")

    assert [error["loc"][:2] for error in body["errors"]] == [["body", name]]


def test_a_field_that_is_longer_than_any_option_is_refused(client: TestClient) -> None:
    body = problem(post_form(client, "heatmap", target="x" * 5000), 422, "request.invalid")

    assert body["detail"] == "target: more than 4,096 bytes"


def test_a_file_in_a_field_of_another_name_is_named(client: TestClient) -> None:
    wrong = client.post(f"{API}/heatmap", files={"files": ("a.png", DATA)})
    beside = client.post(f"{API}/heatmap", files={"file": ("a.png", DATA), "mask": ("b.png", DATA)})

    assert problem(wrong, 422, "request.invalid")["detail"] == (
        "file: Field required; files: unknown name; did you mean 'file'?"
    )
    assert mistake(beside)[0] == ["body", "mask"]


# Python


@pytest.mark.parametrize("name", ["colourmap", "Target", "eigensmooth"])
def test_a_misspelled_keyword_in_python_is_refused(colours_folder: Path, name: str) -> None:
    explainer = Explainer.load(colours_folder)

    with pytest.raises(InvalidOption, match=f"^{name}: unknown name; did you mean '"):
        explainer.explain(DATA, **{name: "hot"})  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["include", "model", "original", "strip_original"])
def test_an_option_of_requests_that_python_does_not_have_is_refused(colours_folder: Path, name: str) -> None:
    with pytest.raises(InvalidOption, match=f"^{name}: unknown name"):
        Explainer.load(colours_folder).explain(DATA, **{name: "map"})  # type: ignore[call-overload]
