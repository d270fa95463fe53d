"""The image with PyTorch, on a CPU. It takes gigabytes and minutes, so a variable must request it."""

import json
import os

import pytest

from heatlens_cli.events.http_events import HttpRequest
from tests.container import docker
from tests.container.conftest import Fact
from tests.container.test_endpoint import ping
from tests.contract.clients import http_client

REQUESTED_ENV = "HEATLENS_TEST_CUDA"
pytestmark = pytest.mark.skipif(
    not os.environ.get(REQUESTED_ENV), reason=f"{REQUESTED_ENV} is not set: make test-container CUDA=1"
)
VERSIONS = (
    "import torch, torchvision, onnxruntime as ort; print(torch.__version__, torch.version.cuda, "
    "torchvision.__version__, ort.__version__, *ort.get_available_providers())"
)


def test_the_cuda_image_gives_the_same_heatmap_as_the_cpu_image(image: str, sample_jpeg: bytes, fact: Fact) -> None:
    large = docker.build("heatlens:test-cuda", target="cuda")
    request = HttpRequest("/invocations", headers={"content-type": "image/jpeg"}, body=sample_jpeg)
    pictures = []
    for tag in (large, image):
        with docker.endpoint(tag) as made:
            assert ping(made).status == 200
            answer = http_client(made.port)(request)
            assert answer.status == 200
            pictures.append(json.loads(answer.body)["heatmap_base64"])
            if tag == large:
                fact(f"cuda image: {docker.config(tag)['Size'] / 1e9:.2f} GB, {made.python(VERSIONS).strip()}")

    assert pictures[0] == pictures[1]
