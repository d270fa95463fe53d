"""The client of the HTTP API against `heatlens serve`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from heatlens.client import (
    ApiError,
    Client,
    HeatmapResult,
    InvalidImage,
    InvalidRequest,
    InvalidUrl,
    PredictResult,
    UnexpectedAnswer,
)
from heatlens.errors import InvalidOption, UnreadableImage
from tests.support.dicom_studies import PHANTOM, radiograph, several_frames
from tests.support.dicom_tools import parsed
from tests.support.faulty_server import answers, faulty_server
from tests.support.local_server import local_server


@pytest.fixture(scope="module")
def client(server_port: int) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{server_port}") as client:
        yield client


def test_a_heatmap_has_overlay_map_and_prediction(client: Client, image: Path) -> None:
    result = client.heatmap(image)

    assert (result.filename, result.width, result.height) == ("scan.png", 48, 64)
    assert result.overlay.size == (48, 64)
    assert result.png.startswith(b"\x89PNG")
    assert result.map.dtype == np.float32
    assert result.map.ndim == 2
    assert result.prediction.label in ("OPACITY", "CLEAR")
    assert result.explained.label == result.prediction.label
    assert (result.regions, result.original_image_base64) == (None, None)
    assert result.to_dict()["map"] == result.map.tolist()


def test_the_options_reach_the_server(client: Client, image: Path) -> None:
    result = client.heatmap(
        image, target=["OPACITY", 0], include="overlay,regions,heatmap,original", format="jpeg", threshold=0.3
    )

    assert result.explanations is not None
    assert [each.label for each in result.explanations] == ["OPACITY", "CLEAR"]
    assert result.regions is not None
    assert result.regions.threshold == pytest.approx(0.3)
    assert (result.media_type, result.suffix) == ("image/jpeg", ".jpg")
    assert result.png.startswith(b"\x89PNG"), "converted"
    assert result.map_image.size == (48, 64)
    assert result.original_bytes == image.read_bytes()
    with pytest.raises(ValueError, match="the answer has no map: add it to include"):
        _ = result.map


def test_no_images_are_no_answers(client: Client) -> None:
    assert client.heatmaps([]) == []
    assert client.predict_all(iter(())) == []


def test_several_images_fail_alone_and_keep_their_order(client: Client, image: Path) -> None:
    first, second, third = client.heatmaps([image, b"no image", image.read_bytes()], include="map")

    assert isinstance(first, HeatmapResult)
    assert isinstance(second, InvalidImage)
    assert isinstance(third, HeatmapResult)
    assert (first.filename, third.filename) == ("scan.png", "unknown")
    assert (second.code, second.status) == ("input.unsupported", None)
    assert first.request_id == second.request_id == third.request_id
    assert np.array_equal(first.map, third.map)


def test_scores_without_a_heatmap(client: Client, image: Path) -> None:
    one = client.predict(image)
    [same, failed] = client.predict_all([Image.open(image), b"no image"])

    assert [each.label for each in one.classes] == ["CLEAR", "OPACITY"]
    assert isinstance(failed, ApiError)
    assert not isinstance(same, ApiError)
    assert same.classes == one.classes
    assert one.to_dict()["prediction"]["label"] == one.prediction.label


def test_a_frame_of_a_dicom_file(client: Client) -> None:
    data = several_frames()

    assert client.heatmap(data, frame=2).frame == 2
    assert client.predict(data, frame=2).frame == 2
    [first, failed] = client.predict_all([data, radiograph()], frame=2)
    assert isinstance(first, PredictResult)
    assert first.frame == 2
    assert isinstance(failed, InvalidImage)
    assert failed.code == "input.frame"


def test_the_state_of_the_server(client: Client) -> None:
    assert client.health()["status"] == "healthy"
    assert client.models()["models"][0]["loaded"] is True


def test_an_array_is_an_image(client: Client) -> None:
    assert client.heatmap(np.zeros((8, 8), np.uint8)).quality in ("ok", "weak", "empty")


def test_errors_mirror_the_codes(client: Client, image: Path) -> None:
    with pytest.raises(InvalidImage) as bad:
        client.heatmap(b"no image")
    with pytest.raises(InvalidRequest) as wrong:
        client.heatmap(image, target="beagle")

    assert (bad.value.code, bad.value.status, bad.value.retryable) == ("input.unsupported", 400, False)
    assert bad.value.detail.startswith("the bytes are not an image")
    assert str(bad.value) == f"the server refused (400): {bad.value.detail}"
    assert wrong.value.mistakes[0]["type"] == "unknown_class"
    assert len(wrong.value.request_id or "") == 32


def test_what_is_wrong_here_is_not_sent(image: Path) -> None:
    with faulty_server() as server, Client(server.url) as client:
        with pytest.raises(TypeError, match="did you mean 'colormap'"):
            client.heatmap(image, colourmap="jet")  # type: ignore[call-arg]
        with pytest.raises(InvalidOption, match="alpha is 7"):
            client.heatmap(image, alpha=7)
        with pytest.raises(UnreadableImage, match=r"gone\.png"):
            client.heatmap("gone.png")
        with pytest.raises(TypeError, match="an image is"):
            client.heatmap(7)  # type: ignore[arg-type]

    assert server.seen == []


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://host:port", "http://"])
def test_an_address_that_is_no_url_is_named(url: str) -> None:
    with pytest.raises(InvalidUrl, match=f"{url} is not a URL of a server: write it as http://HOST:PORT"):
        Client(url)


def test_another_server_is_named(image: Path) -> None:
    with (
        faulty_server(None, answers(200, b"<html>")) as server,
        Client(server.url) as client,
        pytest.raises(UnexpectedAnswer, match=f"{server.url} does not answer like a Heatlens server: check the URL"),
    ):
        client.heatmap(image)


def test_keys_and_tokens_are_sent(image: Path) -> None:
    key = "abcdefghijklmnopqrst"
    with local_server(HEATLENS_API_KEYS=f"ward={key}") as port:
        url = f"http://127.0.0.1:{port}"
        for credentials in ({"api_key": key}, {"token": key}, {"headers": {"X-Api-Key": key}}):
            with Client(url, **credentials) as client:
                assert client.predict(image).success
        with Client(url) as client, pytest.raises(ApiError, match="needs an API key") as refused:
            client.predict(image)

    assert refused.value.code == "principal.api_key"


def test_dicom_objects_are_files(client: Client) -> None:
    result = client.heatmap(radiograph(), dicom=["seg", "sc"], include="map")

    assert result.dicom is not None
    assert [each.kind for each in result.dicom] == ["sc", "seg"]
    assert [parsed(each.data).SOPInstanceUID for each in result.dicom] == [
        each.sop_instance_uid for each in result.dicom
    ]
    assert "data" not in str(result.to_dict()["dicom"])
    assert str(result.dicom[0]) == f"<DicomFile sc of OPACITY: {result.dicom[0].sop_instance_uid}>"
    assert client.heatmap(radiograph()).dicom is None


def test_kinds_are_checked_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(InvalidOption, match="gif: unknown name; known are sc, seg, heat, pm, sr"):
        client.heatmap(b"", dicom="sc,gif")
    with pytest.raises(InvalidImage, match="DICOM objects are written for DICOM sources"):
        client.heatmap(PHANTOM, dicom="sc")
