"""The SageMaker server of the image: the argument `serve`, port 8080."""

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
from tests.container.test_lambda import comparable
from tests.contract.clients import Answer, http_client
from tests.contract.test_conformance import CASES, FOLDER, QUERY
from tests.support.images import encoded, noise
from tests.support.paths import SAMPLES

ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"


@pytest.fixture(scope="module")
def server(image: str) -> Iterator[Container]:
    with endpoint(image) as made:
        yield made


def ping(made: Container) -> Answer:
    return http_client(made.port)(HttpRequest("/ping", method="GET"))


def request(path: str, data: bytes, suffix: str, *, query: str = "") -> HttpRequest:
    return HttpRequest(path, query, headers={"content-type": MEDIA_TYPES[suffix], ATTRIBUTES: QUERY}, body=data)


def test_every_image_gets_the_same_answer_as_from_the_plain_server(server: Container, server_port: int) -> None:
    assert ping(server).status == 200
    for case in CASES:
        data, suffix = (FOLDER / case["file"]).read_bytes(), Path(case["file"]).suffix
        served = http_client(server_port)(request("/api/inference/heatmap", data, suffix, query=QUERY))
        answer = http_client(server.port)(request("/invocations", data, suffix))
        assert answer.status == served.status == case["status"]
        assert comparable(answer.body) == comparable(served.body), case["file"]


def test_the_health_check_passes(server: Container) -> None:
    docker.docker("exec", server.id, "/opt/venv/bin/python", "-m", "functions.endpoint.healthcheck")


def test_without_its_model_the_server_starts_and_reports_the_reason(image: str, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_bytes((DEMO_MODEL / "card.json").read_bytes())
    tmp_path.chmod(0o755)

    with endpoint(image, "--volume", f"{tmp_path}:/opt/model:ro") as made:
        answers = [ping(made), http_client(made.port)(request("/invocations", b"image", ".png"))]
        with pytest.raises(AssertionError, match="HTTP Error 503"):
            made.python("import sys; from functions.endpoint.healthcheck import main; sys.exit(main())")

    assert [answer.status for answer in answers] == [503, 503]
    assert all("trunk.onnx is missing" in json.loads(answer.body)["detail"] for answer in answers)


def test_a_running_request_is_answered_after_sigterm(image: str) -> None:
    data = encoded(noise((4000, 4000), mode="L"))  # takes a while to decode and to encode
    answers: list[Answer] = []
    with endpoint(image) as made:
        send, upload = http_client(made.port), request("/invocations", data, ".png")
        client = threading.Thread(target=lambda: answers.append(send(upload)))
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
    """Wait until the container uses its processor: then it has the upload and has not answered."""
    program = "import os; print(open('/proc/1/stat').read().rsplit(')', 1)[1].split()[11])"
    before = int(made.python(program))
    while int(made.python(program)) < before + 20:  # hundredths of a second
        time.sleep(0.02)


def test_samples_get_their_class(server: Container) -> None:
    samples = json.loads((SAMPLES / "samples.json").read_text())["samples"]
    for sample in samples:
        path = SAMPLES / sample["file"]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/invocations", path.read_bytes(), {"content-type": MEDIA_TYPES[path.suffix]})
        assert json.loads(connection.getresponse().read())["prediction"]["label"] == sample["label"]
        connection.close()
