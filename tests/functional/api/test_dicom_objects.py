"""DICOM objects from the API: the command line's bytes, alone, as parts or in JSON; errors; no patient in logs."""

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from functions.api.handler import handler
from heatlens_cli.events.http_events import KINDS, HttpRequest, heatmap_request
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.contract.clients import Client, http_client, lambda_client
from tests.functional.api.test_bad_input import problem
from tests.functional.cli.test_cli import heatlens
from tests.support.dicom_studies import PHANTOM, ct_slice, radiograph, several_frames
from tests.support.dicom_tools import assert_one_study, assert_valid, parsed
from tests.unit.heatlens_web.test_related import parts

URL = "/api/inference/heatmap"
RELATED = 'multipart/related; type="application/dicom"'
WRITTEN = ("sc", "seg", "sr")
ENTRY_POINTS = [*KINDS, "server"]
LIBRARIES = ("pydicom", "pylibjpeg", "openjpeg", "jpeg_ls", "highdicom", "gdcm")
VOLATILE = {"request_id", "processing_time_ms", "timings_ms"}
SCAN = radiograph()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the command line writes of the scan, by kind."""
    folder = tmp_path_factory.mktemp("command")
    (folder / "scan.dcm").write_bytes(SCAN)
    done = heatlens("explain", folder / "scan.dcm", "--dicom", ",".join(WRITTEN), "-o", folder)
    assert done.returncode == 0, done.stderr
    return {kind: (folder / f"scan.dcm.heatmap.{kind}.dcm").read_bytes() for kind in WRITTEN}


@pytest.fixture(scope="module")
def clients(server_port: int) -> dict[str, Client]:
    behind_lambda = {kind: lambda_client(handler, wrap) for kind, wrap in KINDS.items()}
    return behind_lambda | {"server": http_client(server_port)}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A client of the demo model on the plain server."""
    app = create_app(ServerSettings(), deployment="server")
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


def asked(query: str = "", accept: str = "*/*", data: bytes = SCAN) -> HttpRequest:
    request = heatmap_request("scan.dcm", data, query=query)
    return replace(request, headers=request.headers | {"accept": accept})


def post(client: TestClient, query: str = "", accept: str = "*/*", data: bytes = SCAN) -> Any:  # noqa: ANN401 - httpx
    return client.post(f"{URL}?{query}", files={"file": ("scan.dcm", data)}, headers={"accept": accept})


def decoded(answer: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(each["data_base64"], validate=True) for each in answer["dicom"]]


@pytest.mark.contract("DICOM objects")
@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_every_entry_point_answers_the_bytes_of_the_command_line(
    clients: dict[str, Client], files: dict[str, bytes], entry_point: str
) -> None:
    send = clients[entry_point]

    one = send(asked(accept="application/dicom"))
    several = send(asked(f"dicom={','.join(WRITTEN)}", accept="application/dicom"))
    in_json = send(asked("format=dicom&include=map"))

    assert (one.status, one.headers["content-type"], one.body) == (200, "application/dicom", files["sc"])
    assert one.headers["x-heatlens-label"] == "OPACITY"
    assert several.status == 200
    found = parts(several.body, several.headers["content-type"])
    assert found == [("application/dicom", each) for each in files.values()]
    assert decoded(json.loads(in_json.body)) == [files["sc"]]


def test_objects_are_valid_and_of_the_study(files: dict[str, bytes], client: TestClient, tmp_path: Path) -> None:
    answer = post(client, f"dicom={','.join(WRITTEN)}", RELATED)

    objects = [data for _, data in parts(answer.content, answer.headers["content-type"])]
    assert objects == list(files.values())
    assert_one_study([SCAN, *objects], tmp_path)
    for each in objects:
        assert_valid(each, tmp_path)
    assert [parsed(each).Modality for each in objects] == ["OT", "SEG", "SR"]


def test_one_object_is_a_part_where_parts_are_asked_for(client: TestClient, files: dict[str, bytes]) -> None:
    answer = post(client, "dicom=seg", RELATED)

    assert parts(answer.content, answer.headers["content-type"]) == [("application/dicom", files["seg"])]


def test_the_other_fields_of_json_are_those_without_objects(client: TestClient) -> None:
    plain, with_objects = post(client).json(), post(client, "format=dicom").json()

    assert plain["dicom"] is None
    [capture] = with_objects.pop("dicom")
    made = parsed(base64.b64decode(capture.pop("data_base64")))
    assert capture == {
        "kind": "sc",
        "label": "OPACITY",
        "sop_class_uid": made.SOPClassUID,
        "sop_instance_uid": made.SOPInstanceUID,
    }
    assert "dicom" in with_objects["timings_ms"]
    for answer in (plain, with_objects):
        for name in (*VOLATILE, "dicom"):
            answer.pop(name, None)
    assert with_objects == plain


def test_an_overlay_that_an_object_shows_is_left_out_where_include_does(
    client: TestClient, files: dict[str, bytes]
) -> None:
    answer = post(client, "include=map&dicom=sc").json()

    assert (answer["heatmap_base64"], answer["original_image_base64"], answer["media_type"]) == (None, None, None)
    assert decoded(answer) == [files["sc"]]


@pytest.mark.parametrize(
    "body", [{"format": "dicom", "dicom": ["seg", "sc", "seg"]}, {"dicom": "seg, sc"}, {"dicom": ["sc", "seg"]}]
)
def test_options_may_stand_in_the_body(client: TestClient, files: dict[str, bytes], body: dict[str, Any]) -> None:
    answer = client.post(URL, json={"image_base64": base64.b64encode(SCAN).decode(), "include": "map"} | body)

    assert answer.status_code == 200, answer.text
    assert decoded(answer.json()) == [files["sc"], files["seg"]]


def test_each_target_has_its_objects_in_turn(client: TestClient) -> None:
    answer = post(client, "target=OPACITY&target=CLEAR&dicom=seg&dicom=sc&include=regions").json()

    assert [(each["kind"], each["label"]) for each in answer["dicom"]] == [
        (kind, label) for label in ("OPACITY", "CLEAR") for kind in ("sc", "seg")
    ]
    assert [each["heatmap_base64"] for each in answer["explanations"]] == [None, None]
    assert len({each["sop_instance_uid"] for each in answer["dicom"]}) == 4


def test_a_map_is_written_of_a_slice_that_has_its_place(client: TestClient, tmp_path: Path) -> None:
    answer = post(client, "dicom=pm", "application/dicom", ct_slice())

    assert answer.status_code == 200, answer.text
    assert_valid(answer.content, tmp_path)


def test_objects_are_of_the_frame_that_is_asked_for(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "several.dcm").write_bytes(several_frames())
    done = heatlens("explain", tmp_path / "several.dcm", "--dicom", "seg", "--frame", "2", "-o", tmp_path)
    assert done.returncode == 0, done.stderr

    answer = post(client, "dicom=seg&frame=2", "application/dicom", several_frames())

    assert answer.headers["x-heatlens-frame"] == "2"
    assert answer.content == (tmp_path / "several.dcm.heatmap.seg.dcm").read_bytes()
    assert answer.content != post(client, "dicom=seg", "application/dicom", several_frames()).content


def test_an_image_response_has_no_objects(client: TestClient) -> None:
    answer = post(client, "dicom=sc", "image/jpeg", PHANTOM.read_bytes())

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")


@pytest.mark.contract("400 image")
@pytest.mark.parametrize("entry_point", ["http-api-v2", "server"])
@pytest.mark.parametrize(
    ("request_made", "sentence"),
    [
        (asked("dicom=sc", data=PHANTOM.read_bytes()), "DICOM objects are written for DICOM sources"),
        (asked(accept="application/dicom", data=PHANTOM.read_bytes()), "DICOM objects are written for DICOM sources"),
        (asked("dicom=pm"), "a Parametric Map needs a place in the patient"),
        (asked("dicom=seg", data=radiograph(StudyInstanceUID="")), "the DICOM source has no valid StudyInstanceUID"),
    ],
    ids=["json", "bytes", "map", "study"],
)
def test_an_image_that_gives_no_such_object_is_refused(
    clients: dict[str, Client], entry_point: str, request_made: HttpRequest, sentence: str
) -> None:
    answer = clients[entry_point](request_made)

    found = json.loads(answer.body)
    assert (answer.status, found["code"]) == (400, "input.dicom")
    assert sentence in found["detail"]


@pytest.mark.contract("422")
@pytest.mark.parametrize("path", [URL, f"{URL}-batch"])
@pytest.mark.parametrize(
    ("query", "place", "sentence"),
    [
        ("dicom=sc,gif", ["query", "dicom", 1], "Input should be 'sc', 'seg', 'heat', 'pm' or 'sr'"),
        ("dicom=", ["query", "dicom", 0], "Input should be"),
        ("dicom=sc&format=jpeg", ["query", "format"], "a Secondary Capture shows the overlay pixel for pixel"),
        ("dicoms=sc", ["query", "dicoms"], "did you mean 'dicom'?"),
        ("format=dcm", ["query", "format"], "'dicom'"),
    ],
)
def test_a_wrong_value_is_named(client: TestClient, path: str, query: str, place: list[Any], sentence: str) -> None:
    field = "files" if path.endswith("batch") else "file"
    answer = client.post(f"{path}?{query}", files={field: ("scan.dcm", SCAN)})

    found = problem(answer, 422, "request.invalid")
    assert found["errors"][0]["loc"] == place
    assert sentence in found["errors"][0]["msg"]


def test_scores_have_no_objects(client: TestClient) -> None:
    answer = client.post("/api/inference/predict?dicom=sc", files={"file": SCAN})

    assert problem(answer, 422, "request.invalid")["errors"][0]["loc"] == ["query", "dicom"]


def test_in_a_batch_an_image_that_is_no_dicom_fails_alone(client: TestClient, files: dict[str, bytes]) -> None:
    sent = [("files", ("a.png", PHANTOM.read_bytes())), ("files", ("scan.dcm", SCAN))]
    answer = client.post(f"{URL}-batch?dicom=seg&include=map", files=sent).json()

    picture, scan = answer["results"]
    assert (picture["success"], picture["code"], picture["dicom"]) == (False, "input.dicom", None)
    assert decoded(scan) == [files["seg"]]


def test_no_value_of_the_source_is_logged_or_in_a_header(
    client: TestClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in LIBRARIES:  # pytest listens to loggers that pass nothing on, too
        logging.getLogger(name).handlers.clear()
    answers = [post(client, "dicom=sc,seg,sr", RELATED), post(client, "dicom=pm"), post(client, "dicom=sr")]

    logged = "".join([caplog.text, *capfd.readouterr(), *(str(dict(each.headers)) for each in answers)])
    assert [each.status_code for each in answers] == [200, 400, 200]
    assert "/api/inference/heatmap" in logged
    for value in ("Doe", "P-17", "19610203", "A-9", "Roe", "1.2.826.0.1", "2.25."):
        assert value not in logged


@pytest.mark.contract("openapi")
def test_the_description_has_both_types(client: TestClient) -> None:
    content = client.get("/openapi.json").json()["paths"][URL]["post"]["responses"]["200"]["content"]

    assert {"application/dicom", RELATED} <= content.keys()
