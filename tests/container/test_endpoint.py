"""The SageMaker door of the same image: `image serve`, port 8080."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heatlens.settings import DEMO_MODEL
from heatlens_cli.events.http_events import HttpRequest
from heatlens_cli.sources import MEDIA_TYPES
from tests.container import docker
from tests.container.docker import Container, endpoint
from tests.container.test_lambda import told
from tests.contract.clients import Answer, http_door
from tests.contract.test_conformance import CASES, FOLDER, QUERY
from tests.support.images import encoded, noise
from tests.support.paths import SAMPLES

ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"


@pytest.fixture(scope="module")
def server(image: str) -> Iterator[Container]:
    with endpoint(image) as made:
        yield made


def ping(made: Container) -> Answer:
    return http_door(made.port)(HttpRequest("/ping", method="GET"))


def request(path: str, data: bytes, suffix: str, *, query: str = "") -> HttpRequest:
    return HttpRequest(path, query, headers={"content-type": MEDIA_TYPES[suffix], ATTRIBUTES: QUERY}, body=data)


def test_every_image_comes_out_as_from_the_plain_server(server: Container, server_port: int) -> None:
    assert ping(server).status == 200
    for case in CASES:
        data, suffix = (FOLDER / case["file"]).read_bytes(), Path(case["file"]).suffix
        served = http_door(server_port)(request("/api/inference/heatmap", data, suffix, query=QUERY))
        answer = http_door(server.port)(request("/invocations", data, suffix))
        assert answer.status == served.status == case["status"]
        assert told(answer.body) == told(served.body), case["file"]


def test_a_healthy_container_says_so(server: Container) -> None:
    docker.docker("exec", server.id, "/opt/venv/bin/python", "-m", "functions.endpoint.healthcheck")


def test_without_its_model_it_starts_and_says_why(image: str, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_bytes((DEMO_MODEL / "card.json").read_bytes())
    tmp_path.chmod(0o755)

    with endpoint(image, "--volume", f"{tmp_path}:/opt/model:ro") as made:
        answers = [ping(made), http_door(made.port)(request("/invocations", b"image", ".png"))]
        with pytest.raises(AssertionError, match="HTTP Error 503"):
            made.python("import sys; from functions.endpoint.healthcheck import main; sys.exit(main())")

    assert [answer.status for answer in answers] == [503, 503]
    assert all("trunk.onnx is missing" in json.loads(answer.body)["detail"] for answer in answers)


def test_a_request_under_way_when_it_is_told_to_end_is_answered(image: str) -> None:
    data = encoded(noise((4000, 4000), mode="L"))  # takes a while to decode and to encode
    answers: list[Answer] = []
    with endpoint(image) as made:
        ask, wish = http_door(made.port), request("/invocations", data, ".png")
        client = threading.Thread(target=lambda: answers.append(ask(wish)))
        client.start()
        _wait_until_it_works(made)
        docker.docker("kill", "--signal", "TERM", made.id)
        client.join(60)
        until = time.monotonic() + 30
        while made.running:
            assert time.monotonic() < until
            time.sleep(0.1)
        code = made.exit_code

    [answer] = answers
    assert answer.status == 200
    assert json.loads(answer.body)["width"] == 4000
    assert code == 0


def _wait_until_it_works(made: Container) -> None:
    """Until the container uses its processor: the upload is in, and the answer is not out."""
    program = "import os; print(open('/proc/1/stat').read().rsplit(')', 1)[1].split()[11])"
    before = int(made.python(program))
    while int(made.python(program)) < before + 20:  # hundredths of a second
        time.sleep(0.02)


def test_samples_are_answered_with_their_class(server: Container) -> None:
    samples = json.loads((SAMPLES / "samples.json").read_text())["samples"]
    for sample in samples:
        path = SAMPLES / sample["file"]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/invocations", path.read_bytes(), {"content-type": MEDIA_TYPES[path.suffix]})
        assert json.loads(connection.getresponse().read())["prediction"]["label"] == sample["label"]
        connection.close()
