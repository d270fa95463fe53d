"""The OpenAPI description is complete, its examples work and get the described responses; /docs works offline."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from heatlens.errors import HeatlensError
from heatlens.settings import DEMO_MODEL
from heatlens_web.app import STATIC, create_app
from heatlens_web.errors import NotAcceptable
from heatlens_web.problems import status_of
from heatlens_web.security_headers import page_headers
from heatlens_web.settings import ServerSettings
from infra.make_tables import response_errors
from tests.support.aws import Account
from tests.support.paths import SAMPLES

Json = dict[str, Any]
KINDS = {"multipart/form-data", "application/json", "image/*", "application/dicom", "application/octet-stream"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(ServerSettings(), deployment="server"), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def description(client: TestClient) -> Json:
    document: Json = client.get("/openapi.json").json()
    return document


def operations(description: Json) -> dict[str, tuple[str, str, Json]]:
    """Return method, path and description of each operation by its id."""
    return {
        each["operationId"]: (method, path, each)
        for path, methods in description["paths"].items()
        for method, each in methods.items()
    }


def check(answer: Any, operation: Json, description: Json) -> Any:  # noqa: ANN401 - a response, JSON
    """Assert that a response matches its description, and return its JSON."""
    kind = answer.headers["content-type"].partition(";")[0]
    content = operation["responses"][str(answer.status_code)]["content"]
    assert kind in content
    schema = content[kind]["schema"] | {"components": description["components"]}
    body = answer.json()
    jsonschema.Draft202012Validator(schema).validate(body)
    return body


def test_the_description_is_valid_openapi_3_1(description: Json) -> None:
    assert description["openapi"].startswith("3.1")
    jsonschema.Draft202012Validator.check_schema({"components": description["components"]})
    text = json.dumps(description)
    named = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert named <= set(description["components"]["schemas"])
    assert "$defs" not in text
    assert "HTTPValidationError" not in text


@pytest.mark.contract("openapi")
def test_every_operation_has_a_unique_id_a_sentence_and_a_described_response(description: Json) -> None:
    described = operations(description)

    assert len(described) == sum(len(methods) for methods in description["paths"].values())
    assert {"heatmap", "heatmap_batch", "predict", "predict_batch", "models", "health", "ready"} <= set(described)
    assert {"kserve_list", "kserve_ready", "kserve_predict", "kserve_explain", "batch_create"} <= set(described)
    for name, (_, _, operation) in described.items():
        assert operation["description"], name
        [good] = [status for status in operation["responses"] if status in ("200", "201")]
        assert operation["responses"][good]["content"]["application/json"]["schema"], name


@pytest.mark.contract("problem", "openapi")
def test_every_error_is_described_as_a_problem(description: Json) -> None:
    for name, (_, _, operation) in operations(description).items():
        assert "500" in operation["responses"], name
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)
            if status >= "400":
                assert response["content"] == {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                }, (name, status)


OF_THE_ENDPOINT = {status_of(NotAcceptable)}  # SageMaker's, which has no description


def test_every_status_of_an_error_is_described_somewhere(description: Json) -> None:
    described = {int(status) for _, _, each in operations(description).values() for status in each["responses"]}

    assert {status_of(error) for error in response_errors()} - described == OF_THE_ENDPOINT
    assert status_of(HeatlensError) in described


def test_every_parameter_and_option_has_a_description(description: Json) -> None:
    for name, (_, _, operation) in operations(description).items():
        for each in operation.get("parameters", []):
            assert each["in"] == "path" or each.get("description"), (name, each["name"])


@pytest.mark.contract("openapi")
@pytest.mark.parametrize("name", ["heatmap", "heatmap_batch", "predict", "predict_batch"])
def test_examples_get_the_described_response(client: TestClient, description: Json, name: str) -> None:
    _, path, operation = operations(description)[name]
    content = operation["requestBody"]["content"]
    example = content["application/json"]["example"]

    jsonschema.validate(example, content["application/json"]["schema"])
    answer = client.post(path, json=example)

    assert set(content) == KINDS
    assert answer.status_code == 200
    body = check(answer, operation, description)
    assert (body["filename"] if "filename" in body else body["results"][0]["filename"]) == "scan.png"
    assert body.get("failed", 0) == 0


@pytest.mark.contract("options in bodies", "openapi")
@pytest.mark.parametrize("name", ["heatmap", "heatmap_batch", "predict", "predict_batch"])
def test_forms_and_json_have_the_options_of_the_query_and_nothing_else(description: Json, name: str) -> None:
    operation = operations(description)[name][2]
    content = operation["requestBody"]["content"]
    form, json_body = (content[kind]["schema"] for kind in ("multipart/form-data", "application/json"))
    options = {each["name"] for each in operation["parameters"]}

    assert form["properties"].keys() - options == ({"files"} if name.endswith("batch") else {"file"})
    assert json_body["properties"].keys() - options == (
        {"images"} if name.endswith("batch") else {"image_base64", "filename"}
    )
    assert options <= form["properties"].keys() & json_body["properties"].keys()
    assert (form["additionalProperties"], json_body["additionalProperties"]) == (False, False)


@pytest.mark.parametrize("name", ["kserve_predict", "kserve_explain"])
def test_kserve_examples_get_the_described_response(client: TestClient, description: Json, name: str) -> None:
    _, path, operation = operations(description)[name]
    content = operation["requestBody"]["content"]["application/json"]
    jsonschema.validate(content["example"], content["schema"])

    answer = client.post(path.format(name=DEMO_MODEL.name), json=content["example"])

    assert answer.status_code == 200
    assert len(check(answer, operation, description)["predictions"]) == 1


def test_the_example_of_an_inference_gets_the_described_response(client: TestClient, description: Json) -> None:
    _, path, operation = operations(description)["v2_infer"]
    content = operation["requestBody"]["content"]["application/json"]
    jsonschema.validate(content["example"], content["schema"])

    answer = client.post(path.format(name=DEMO_MODEL.name), json=content["example"])

    assert answer.status_code == 200
    assert [each["name"] for each in check(answer, operation, description)["outputs"]] == ["label", "saliency_map"]


WITHOUT_A_BODY = ["models", "health", "ready", "kserve_list", "kserve_ready"]
WITHOUT_A_BODY += ["v2_server", "v2_live", "v2_ready", "v2_model", "v2_model_ready"]


@pytest.mark.parametrize("name", WITHOUT_A_BODY)
def test_routes_without_a_body_send_the_described_response(client: TestClient, description: Json, name: str) -> None:
    _, path, operation = operations(description)[name]

    answer = client.get(path.format(name=DEMO_MODEL.name))

    assert answer.status_code == 200
    check(answer, operation, description)


@pytest.mark.parametrize(
    ("name", "query", "status"),
    [
        ("heatmap", "alpha=2", 422),
        ("heatmap", "target=no", 422),
        ("heatmap_batch", "include=nothing", 422),
        ("predict", "model=no", 422),
        ("heatmap", "", 400),
        ("predict", "", 400),
    ],
)
def test_errors_match_their_description(
    client: TestClient, description: Json, name: str, query: str, status: int
) -> None:
    _, path, operation = operations(description)[name]
    data = b"text" if status == 400 else (SAMPLES / "phantom-04-clear.png").read_bytes()

    answer = client.post(f"{path}?{query}", content=data, headers={"content-type": "image/png"})

    assert answer.status_code == status
    check(answer, operation, description)


@pytest.mark.contract("openapi")
def test_the_examples_of_staged_batches_work_in_sequence(
    aws: Account, description: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEATLENS_BUCKET", aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", aws.settings.table)
    client = TestClient(create_app(ServerSettings(), deployment="lambda"), raise_server_exceptions=False)
    described, schemas = operations(description), description["components"]["schemas"]

    def ask(name: str, schema: str | None = None, batch: str = "", **query: Any) -> Any:  # noqa: ANN401 - JSON
        method, path, operation = described[name]
        body = schemas[schema]["examples"][0] if schema else None
        answer = client.request(method, path.format(batch_id=batch), json=body, params=query)
        assert answer.status_code < 300, answer.text
        return check(answer, operation, description) if answer.content else None

    batch = ask("batch_create", "BatchCreate")["batch_id"]
    [link] = ask("batch_declare", "FilesDeclaration", batch)["files"]
    assert link["number"] == 0
    assert ask("batch_links", batch=batch)["next"] is None
    assert ask("batch_status", batch=batch)["state"] == "open"
    assert ask("batch_close", batch=batch)["state"] == "failed"
    assert ask("batch_results", batch=batch)["results"][0]["state"] == "MISSING"
    assert ask("batch_delete", batch=batch)["state"] == "failed"
    assert ask("batch_delete", batch=batch, purge=True)["state"] == "purging"
    assert ask("batch_status", batch=batch)["purge"]["files_left"] == 1


class Links(HTMLParser):
    """What a page loads; the address of an anchor is loaded only by who follows it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            return
        self.links += [value for name, value in attrs if name in ("href", "src", "action") and value]


@pytest.mark.contract("docs")
@pytest.mark.parametrize("page", ["/docs", "/"])
def test_a_page_loads_nothing_from_other_origins(client: TestClient, page: str) -> None:
    answer = client.get(page)

    named = Links(answer.text).links
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert named
    assert [link for link in named if re.match(r"//|https?:", link)] == []
    for link in (each for each in named if each.startswith("static/")):
        text = client.get(link).text
        assert text
        assert re.findall(r"https?://|//[a-z]+\.|@import|url\(", text) == [], link


@pytest.mark.contract("docs")
def test_the_docs_page_forbids_other_origins(client: TestClient) -> None:
    policy = client.get("/docs").headers["content-security-policy"]

    assert policy == page_headers()["content-security-policy"]
    # The policy forbids inline scripts and styles, so the page has none.
    assert not re.search(r"<script>|<style|\sstyle=|\son[a-z]+=", (STATIC / "docs.html").read_text())


def test_the_docs_page_reads_this_servers_description(client: TestClient) -> None:
    script = (STATIC / "js" / "docs.js").read_text()

    assert re.findall(r'fetch\("([^"]+)"\)', script) == ["openapi.json"]
    assert client.get("/openapi.json").status_code == 200
