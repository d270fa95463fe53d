"""Requests as people send them: each gets the right answer, or an error that says what is wrong."""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from functions.endpoint.app import create_app as create_endpoint
from functions.endpoint.attributes import CUSTOM_ATTRIBUTES
from heatlens.errors import InvalidOption
from heatlens.explainer import Explainer
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.functional.api.test_options import PIXELS
from tests.functional.conftest import MakeClient
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

    assert sentence == "softmax: unknown name; known are model, window, frame"


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


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/static/js/app.js"])
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


# Base64


WRAPPED = "\r\n".join(TEXT[start : start + 76] for start in range(0, len(TEXT), 76))
SPELLINGS = {
    "data: URI": f"data:image/png;base64,{TEXT}",
    "data: URI with a name and in capitals": f"DATA:image/png;name=a.png;BASE64,{TEXT}",
    "lines of MIME": WRAPPED + "\r\n",
    "lines of coreutils": WRAPPED.replace("\r", "") + "\n",
    "URL-safe": TEXT.replace("+", "-").replace("/", "_"),
    "without padding": TEXT.rstrip("="),
    "all at once": "\n data:;base64," + WRAPPED.replace("+", "-").replace("/", "_").rstrip("=") + " \n",
}


@pytest.mark.contract("JSON")
@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_every_common_spelling_of_base64_is_the_same_image(client: TestClient, endpoint: TestClient, text: str) -> None:
    assert set(TEXT) >= {"+", "/"}
    expected = overlay(post_form(client, "heatmap"))

    assert overlay(client.post(f"{API}/heatmap", json={"image_base64": text})) == expected
    assert overlay(client.post(f"{API}/heatmap-batch", json={"images": [{"image_base64": text}]})) == expected
    assert overlay(endpoint.post("/invocations", json={"image_base64": text})) == expected
    instances = {"instances": [{"image_bytes": {"b64": text}}]}
    answer = client.post("/v1/models/colours:explain", json=instances).json()
    assert answer["explanations"][0]["heatmap_base64"] == expected


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("data:image/svg+xml,%3Csvg/%3E", "the image is a data: URI that is not base64: write data:image/png;base64,…"),
        (
            TEXT.replace("+", " "),
            "the image has spaces in its base64: write each as +, which a form turns into a space",
        ),
        ("AAAAA", "the image is not base64, or its base64 is cut short"),
        ("scan.png", "the image is not base64"),
    ],
)
def test_base64_that_cannot_be_read_is_refused_with_its_reason(client: TestClient, text: str, detail: str) -> None:
    answer = client.post(f"{API}/heatmap", json={"image_base64": text})

    assert problem(answer, 400, "input.bad_base64")["detail"] == detail


# Bodies


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/vnd.api+json", "Application/JSON"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_json_of_any_kind_with_or_without_a_byte_order_mark(
    client: TestClient, staged: TestClient, kind: str, mark: bytes
) -> None:
    headers = {"content-type": kind}
    image = mark + json.dumps(body_of("heatmap")).encode()

    assert client.post(f"{API}/heatmap", content=image, headers=headers).status_code == 200
    instances = client.post(
        "/v1/models/colours:predict", content=mark + json.dumps(INSTANCES).encode(), headers=headers
    )
    assert instances.status_code == 200
    batch = staged.post(f"{API}/batches", content=mark + b'{"expected_files": 1}', headers=headers)
    assert batch.status_code == 201


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_json_in_utf_16_is_named(staged: TestClient, encoding: str) -> None:
    headers = {"content-type": "application/json"}

    for path, body in ((f"{API}/heatmap", body_of("heatmap")), (f"{API}/batches", {"expected_files": 1})):
        answer = staged.post(path, content=json.dumps(body).encode(encoding), headers=headers)
        assert problem(answer, 400, "request.malformed")["detail"] == "the JSON is in UTF-16: send it in UTF-8"


@pytest.mark.contract("body")
@pytest.mark.parametrize("route", IMAGES)
@pytest.mark.parametrize("kind", ["application/octet-stream", "image/jpg", "IMAGE/PNG", None])
def test_an_image_of_a_type_that_is_not_told_or_not_quite_right_may_be_the_body(
    client: TestClient, route: str, kind: str | None
) -> None:
    headers = {"content-type": kind} if kind else {}

    answer = client.post(f"{API}/{route}", content=DATA, headers=headers)

    assert answer.status_code == 200, answer.text
    assert answer.json().get("failed", 0) == 0


def test_image_jpg_in_accept_is_jpeg(client: TestClient) -> None:
    answer = client.post(f"{API}/heatmap", files={"file": DATA}, headers={"accept": "image/jpg"})

    assert (answer.headers["content-type"], answer.content[:2]) == ("image/jpeg", b"\xff\xd8")


def test_curls_data_binary_without_a_type_is_refused_with_the_way_out(client: TestClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}

    answer = client.post(f"{API}/heatmap-batch", content=DATA, headers=headers)

    assert "curl -F" in problem(answer, 415, "request.unsupported_content_type")["detail"]
    assert "'files'" in answer.json()["detail"]


# Compressed bodies


def kinds_of_body() -> dict[str, tuple[str, bytes]]:
    form = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + DATA + b"\r\n--x--\r\n"
    return {
        "multipart": ("multipart/form-data; boundary=x", form),
        "JSON": ("application/json", json.dumps(body_of("heatmap")).encode()),
        "image": ("image/png", DATA),
    }


@pytest.mark.parametrize("kind", kinds_of_body())
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "identity"])
def test_a_body_may_be_compressed_with_gzip(client: TestClient, endpoint: TestClient, kind: str, encoding: str) -> None:
    content_type, body = kinds_of_body()[kind]
    sent = body if encoding == "identity" else gzip.compress(body)
    headers = {"content-type": content_type, "content-encoding": encoding}
    expected = overlay(post_form(client, "heatmap"))

    assert overlay(client.post(f"{API}/heatmap", content=sent, headers=headers)) == expected
    assert overlay(endpoint.post("/invocations", content=sent, headers=headers)) == expected


def test_a_batch_may_be_created_with_a_compressed_body(staged: TestClient) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}

    assert staged.post(f"{API}/batches", content=gzip.compress(b'{"expected_files": 1}'), headers=headers).is_success


def test_a_compression_bomb_is_refused_at_the_limit_of_the_body(make_client: MakeClient) -> None:
    headers = {"content-type": "image/png", "content-encoding": "gzip"}
    client = make_client(body_bytes=1_000_000)

    fits = client.post(f"{API}/heatmap", content=gzip.compress(bytes(1_000_000)), headers=headers)
    bomb = client.post(f"{API}/heatmap", content=gzip.compress(bytes(1_000_001)), headers=headers)

    problem(fits, 400, "input.unsupported")
    assert problem(bomb, 413, "limit.body_bytes")["detail"] == "the request body is over the limit of 1,000,000 bytes"


@pytest.mark.parametrize(
    ("encoding", "body", "status", "detail"),
    [
        ("br", DATA, 415, "the Content-Encoding 'br' is not supported: send the body as it is, or with gzip"),
        (
            "gzip, gzip",
            DATA,
            415,
            "the Content-Encoding 'gzip, gzip' is not supported: send the body as it is, or with gzip",
        ),
        ("gzip", DATA, 400, "the body is not gzip, which its Content-Encoding says it is"),
        ("gzip", gzip.compress(DATA, mtime=0)[:-9], 400, "the gzip body ends early"),
    ],
)
def test_an_encoding_that_cannot_be_undone_is_named(
    client: TestClient, encoding: str, body: bytes, status: int, detail: str
) -> None:
    headers = {"content-type": "image/png", "content-encoding": encoding}

    answer = client.post(f"{API}/heatmap", content=body, headers=headers)

    code = "request.malformed" if status == 400 else "request.unsupported_content_type"
    assert problem(answer, status, code)["detail"] == detail


# Multipart


def part(headers: str, content: bytes, before: bytes = b"") -> bytes:
    return before + f"--x\r\n{headers}\r\n\r\n".encode() + content + b"\r\n--x--\r\n"


FILE = 'Content-Disposition: form-data; name="file"; filename="a.png"'


def send_parts(client: TestClient, body: bytes, route: str = "heatmap") -> Any:  # noqa: ANN401 - a response
    return client.post(f"{API}/{route}", content=body, headers={"content-type": "multipart/form-data; boundary=x"})


@pytest.mark.parametrize("encoding", ["base64", "BASE64", "binary", "8bit"])
def test_a_part_may_have_a_content_transfer_encoding(client: TestClient, encoding: str) -> None:
    content = base64.encodebytes(DATA) if encoding.lower() == "base64" else DATA

    answer = send_parts(client, part(f"{FILE}\r\nContent-Transfer-Encoding: {encoding}", content))

    assert overlay(answer) == overlay(post_form(client, "heatmap"))
    assert base64.b64decode(answer.json()["original_image_base64"]) == DATA


def test_an_option_in_base64_is_read_too(client: TestClient) -> None:
    option = (
        b'--x\r\nContent-Disposition: form-data; name="colormap"\r\nContent-Transfer-Encoding: base64\r\n\r\naG90\r\n'
    )

    assert overlay(send_parts(client, part(FILE, DATA, option))) == overlay(
        post_form(client, "heatmap", "?colormap=hot")
    )


def test_the_file_limit_counts_the_decoded_bytes_of_a_part_in_base64(make_client: MakeClient) -> None:
    body = part(f"{FILE}\r\nContent-Transfer-Encoding: base64", base64.encodebytes(DATA))

    assert send_parts(make_client(file_bytes=len(DATA)), body).status_code == 200
    problem(send_parts(make_client(file_bytes=len(DATA) - 1), body), 413, "limit.file_bytes")


def test_transfer_encodings_that_are_not_read_are_named(client: TestClient) -> None:
    quoted = send_parts(client, part(f"{FILE}\r\nContent-Transfer-Encoding: quoted-printable", DATA))
    broken = send_parts(client, part(f"{FILE}\r\nContent-Transfer-Encoding: base64", b"scan.png"))

    assert "'quoted-printable'" in problem(quoted, 400, "request.malformed")["detail"]
    problem(broken, 400, "input.bad_base64")


@pytest.mark.parametrize("before", [b"\r\n", b"This is a message in MIME.\r\n", b"text --x\r\n\r\n"])
def test_text_before_the_first_boundary_is_skipped(client: TestClient, before: bytes) -> None:
    assert overlay(send_parts(client, part(FILE, DATA, before))) == overlay(post_form(client, "heatmap"))


def test_lines_that_end_with_lf_alone_are_named(client: TestClient) -> None:
    body = part(FILE, b"x").replace(b"\r\n", b"\n")

    detail = problem(send_parts(client, body), 400, "request.malformed")["detail"]

    assert detail == "the lines of the multipart body end with LF alone: end them with CRLF"


@pytest.mark.parametrize("body", [b"--y\r\n", DATA, bytes(1_000_000)])
def test_another_boundary_than_the_content_type_names_is_named(client: TestClient, body: bytes) -> None:
    detail = problem(send_parts(client, body), 400, "request.malformed")["detail"]

    assert detail == "the multipart body does not begin with the boundary that its content type names"


# HEAD and CORS


GET = ["/", "/docs", "/openapi.json", "/static/js/app.js", f"{API}/health", f"{API}/ready", f"{API}/models",
       "/v1/models", "/v1/models/colours"]  # fmt: skip


@pytest.mark.parametrize("path", GET)
def test_head_is_answered_wherever_get_is(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)

    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == get.headers[name]
    assert "HEAD" in client.put(path).headers["allow"]


def test_head_is_answered_by_the_endpoint_and_by_staged_batches(endpoint: TestClient, staged: TestClient) -> None:
    batch = staged.post(f"{API}/batches", json={"expected_files": 1}).json()["batch_id"]

    assert endpoint.head("/ping").status_code == 200
    assert staged.head(f"{API}/batches/{batch}").status_code == 200
    assert staged.head(f"{API}/batches/{batch}/results").status_code == 200


def test_head_of_an_address_without_get_is_an_error_without_a_body(client: TestClient) -> None:
    answer = client.head(f"{API}/heatmap")

    assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "POST", b"")


def ask_from_a_page(client: TestClient, origin: str) -> tuple[Any, Any]:
    """Return the answers to a browser's preflight and to its request."""
    headers = {"origin": origin}
    preflight = headers | {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    return (
        client.options(f"{API}/heatmap", headers=preflight),
        client.post(f"{API}/heatmap?alpha=9", files={"file": DATA}, headers=headers),
    )


def test_a_page_of_another_origin_is_not_answered_by_default(client: TestClient) -> None:
    for answer in ask_from_a_page(client, "https://pacs.example"):
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("origins", ["https://pacs.example, http://localhost:3000/", "*"])
def test_pages_of_the_origins_in_the_settings_may_use_the_plain_server(colours_folder: Path, origins: str) -> None:
    settings = ServerSettings(model_dir=colours_folder, cors_origins=origins)
    client = TestClient(create_app(settings, deployment="server"))

    for origin in ("https://pacs.example", "http://localhost:3000"):
        preflight, refused = ask_from_a_page(client, origin)
        assert (preflight.status_code, refused.status_code) == (200, 422)
        for answer in (preflight, refused):
            assert answer.headers["access-control-allow-origin"] == ("*" if origins == "*" else origin)
        assert "x-request-id" in refused.headers["access-control-expose-headers"]
    other, _ = ask_from_a_page(client, "https://elsewhere.example")
    assert ("access-control-allow-origin" in other.headers) == (origins == "*")


def test_the_lambda_function_leaves_cors_to_its_gateway(make_client: MakeClient) -> None:
    for answer in ask_from_a_page(make_client(cors_origins="*"), "https://pacs.example"):
        assert "access-control-allow-origin" not in answer.headers


# Python


@pytest.mark.parametrize("name", ["colourmap", "Target", "eigensmooth"])
def test_a_misspelled_keyword_in_python_is_refused(colours_folder: Path, name: str) -> None:
    explainer = Explainer.load(colours_folder)

    with pytest.raises(TypeError, match=f"^{name}: unknown name; did you mean '"):
        explainer.explain(DATA, **{name: "hot"})  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["include", "model", "original", "strip_original"])
def test_an_option_of_requests_that_python_does_not_have_is_refused(colours_folder: Path, name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name}: unknown name"):
        Explainer.load(colours_folder).explain(DATA, **{name: "map"})  # type: ignore[call-overload]


@pytest.mark.parametrize(("form", "start"), [("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")])
def test_png_is_never_the_bytes_of_another_format(colours_folder: Path, form: str, start: bytes) -> None:
    explainer = Explainer.load(colours_folder)
    explanation = explainer.explain(DATA, format=form)

    assert explanation.png.startswith(b"\x89PNG")
    assert explanation.overlay is not None
    assert explanation.overlay.data.startswith(start)
    assert explainer.explain(DATA).png.startswith(b"\x89PNG")


# Targets


@pytest.mark.parametrize("target", [np.int64(2), np.uint8(2), [np.int32(2)], np.array([2]), iter([2])])
def test_an_index_from_numpy_is_an_index(colours_folder: Path, target: Any) -> None:  # noqa: ANN401 - as people write it
    assert [each.index for each in Explainer.load(colours_folder).explain(DATA, target=target).explained] == [2]


@pytest.mark.parametrize(
    "target", ["goldfish", "top-0", "top-4", "TOP-1", -1, 3, "3", "", None, True, [False], 0.5, [[]], [[3]], [[[0]]]]
)
def test_a_target_that_the_model_does_not_have_is_refused(colours_folder: Path, target: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidOption, match=r"^target"):
        Explainer.load(colours_folder).explain(DATA, target=target)


@pytest.mark.parametrize("contrast", ["goldfish", 3, True, "top-1"])
def test_a_contrast_that_the_model_does_not_have_is_refused(colours_folder: Path, contrast: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidOption, match=r"^contrast"):
        Explainer.load(colours_folder).explain(DATA, contrast=contrast)


@pytest.mark.contract("target")
def test_a_target_is_checked_at_every_address(client: TestClient, endpoint: TestClient, staged: TestClient) -> None:
    raw = {"content-type": "image/png"}
    answers = [
        post_form(client, "heatmap", "?target=goldfish"),
        post_form(client, "heatmap-batch", "?target=RED&target=goldfish"),
        post_form(client, "heatmap", target="goldfish"),
        client.post(f"{API}/heatmap", json=body_of("heatmap") | {"target": "goldfish"}),
        client.post("/v1/models/colours:explain", json=INSTANCES | {"target": "goldfish"}),
        endpoint.post("/invocations", content=DATA, headers=raw | {CUSTOM_ATTRIBUTES: "target=goldfish"}),
        staged.post(f"{API}/batches", json={"expected_files": 1, "target": "goldfish"}),
    ]

    for answer in answers:
        assert problem(answer, 422, "request.invalid")["detail"].startswith(
            "target: 'goldfish' is no class of this model"
        )


@pytest.mark.contract("target", "explanations")
def test_top_2_is_two_maps_everywhere(client: TestClient, endpoint: TestClient, colours_folder: Path) -> None:
    raw = {"content-type": "image/png", CUSTOM_ATTRIBUTES: "target=top-2"}
    answers = [
        post_form(client, "heatmap", "?target=top-2").json(),
        post_form(client, "heatmap-batch", "?target=top-2").json()["results"][0],
        post_form(client, "heatmap", target="top-2").json(),
        client.post("/v1/models/colours:explain?target=top-2", json=INSTANCES).json()["explanations"][0],
        endpoint.post("/invocations", content=DATA, headers=raw).json(),
    ]

    for answer in answers:
        maps = [each["heatmap_base64"] for each in answer["explanations"]]
        assert len(set(maps)) == 2
    explained = Explainer.load(colours_folder).explain(DATA, target="top-2").explained
    assert [each.label for each in explained] == ["GREEN, light", "RED"]
    assert not np.array_equal(explained[0].signed_map, explained[1].signed_map)
