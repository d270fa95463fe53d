"""Images that need more memory than there is."""

import logging
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.functional.conftest import MakeClient
from tests.support.images import encoded, noise

URL = "/api/inference/heatmap"
FLOATS = encoded(Image.fromarray(np.zeros((500, 500), np.float32)), "TIFF", compression="tiff_adobe_deflate")


@pytest.mark.provokes("limit.image_memory")
def test_a_float_tiff_that_does_not_fit_the_function_is_too_large(make_client: MakeClient) -> None:
    response = make_client(image_bytes=4_000_000 - 1).post(URL, files={"file": FLOATS})

    assert (response.status_code, response.json()["code"]) == (413, "limit.image_memory")
    assert response.json()["detail"] == (
        "decoding this image of 0.2 megapixels takes about 4 MB of memory and there are 4 for it: "
        "send a smaller image, or give the function or the server more memory"
    )
    assert make_client(image_bytes=22 * 250_000).post(URL, files={"file": FLOATS}).status_code == 200


def test_the_functions_memory_less_the_models_is_the_limit(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "160")
    large = encoded(Image.new("L", (1000, 1000)))

    response = make_client().post(URL, files={"file": large})

    assert (response.status_code, response.json()["code"]) == (413, "limit.image_memory")
    assert make_client().post(URL, files={"file": encoded(noise((30, 30)))}).status_code == 200


@pytest.mark.provokes("memory")
@pytest.mark.parametrize(
    "place", ["PIL.PngImagePlugin.PngImageFile.load", "heatlens.draw.blend", "heatlens.pipeline.np.stack"]
)
def test_running_out_of_memory_is_503_and_logged(
    make_client: MakeClient, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client()

    def exhausted(*_: Any, **__: Any) -> None:  # noqa: ANN401 - any function's
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(place, exhausted)
        response = client.post(URL, files={"file": encoded(noise((30, 30)))})

    assert (response.status_code, response.json()["code"]) == (503, "memory")
    assert response.headers["retry-after"] == "30"
    assert response.json()["detail"] == (
        "there was not enough memory for this image: try again later, or send fewer or smaller ones"
    )
    logged = [record for record in caplog.records if "memory" in record.message and record.name != "heatlens.audit"]
    assert [record.levelno for record in logged] == [logging.ERROR]
    assert client.post(URL, files={"file": encoded(noise((30, 30)))}).status_code == 200


@pytest.mark.provokes("memory")
def test_running_out_of_memory_outside_the_pipeline_is_503(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any, **__: Any) -> None:  # noqa: ANN401 - any function's
        raise MemoryError

    client = make_client()
    monkeypatch.setattr("heatlens_web.deliver.deliver_one", exhausted)

    response = client.post(URL, files={"file": encoded(noise((30, 30)))})

    assert (response.status_code, response.json()["code"]) == (503, "memory")
