"""The application of the template under SAM's emulators of Lambda and of the gateway."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from heatlens_cli.events.http_events import HttpRequest, answer_body, heatmap_request
from heatlens_cli.events.make_event import make_event
from infra.tools import DEFAULTS, QUIET, ready
from tests.container.docker import base_image
from tests.container.test_lambda import comparable
from tests.contract.clients import http_client
from tests.contract.test_conformance import CASES, FOLDER, QUERY
from tests.functional.test_readme import block, shell
from tests.support.emulator import free_port
from tests.support.paths import ROOT, SAMPLES

JPEG = SAMPLES / "phantom-03-opacity.jpg"
# With AWS keys, SAM would call STS.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS"))}


@dataclass(frozen=True)
class Sam:
    """SAM's command and the template that it has built."""

    command: str
    template: Path

    def words(self, *words: str) -> list[str]:
        return [self.command, *words, "--template", str(self.template), "--skip-pull-image"]


@pytest.fixture(scope="module")
def sam(daemon: None, tmp_path_factory: pytest.TempPathFactory) -> Sam:
    del daemon
    folder = tmp_path_factory.mktemp("sam")
    command = str(ready("sam"))
    done = subprocess.run(
        [command, "build", "--build-dir", str(folder), "--parameter-overrides", f"BaseImage={base_image()}"],
        cwd=ROOT,
        env=DEFAULTS | ENVIRONMENT | QUIET,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert len(set(re.findall(r"Successfully built (\w+)", done.stdout + done.stderr))) == 1, "one image for all"
    return Sam(command, folder / "template.yaml")


def invoke(sam: Sam, function: str, event: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        sam.words("local", "invoke", function, "--event", "-"),
        cwd=ROOT,
        env=DEFAULTS | ENVIRONMENT | QUIET,
        input=json.dumps(event),
        capture_output=True,
        check=False,
        text=True,
    )


def test_sam_local_invoke_answers_as_the_plain_server_does(sam: Sam, server_port: int) -> None:
    images = [JPEG, *(FOLDER / case["file"] for case in CASES)]
    events = [make_event(image, "http-api-v2", query=QUERY, bucket="") for image in images]
    first = invoke(sam, "ApiFunction", events[0])  # alone, because SAM builds its own image on this one
    with ThreadPoolExecutor(2) as pool:
        done = [first, *pool.map(lambda event: invoke(sam, "ApiFunction", event), events[1:])]

    for image, each in zip(images, done, strict=True):
        answer = json.loads(each.stdout.strip().splitlines()[-1])
        served = http_client(server_port)(heatmap_request(image.name, image.read_bytes(), query=QUERY))
        assert answer["statusCode"] == served.status
        assert comparable(answer_body(answer)) == comparable(served.body), image.name


def test_placeholder_bucket_of_sam_local_is_refused(sam: Sam) -> None:
    """There `!Ref Bucket` is the word Bucket, which may be somebody's real bucket."""
    done = invoke(sam, "BatchFunction", make_event(JPEG, "sqs", query="", bucket="Bucket"))

    assert "HEATLENS_ENDPOINT_URL" in done.stderr
    assert "batchItemFailures" not in done.stdout


@pytest.fixture(scope="module")
def api(sam: Sam, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run the emulated gateway; yield its port."""
    port, log = free_port(), tmp_path_factory.mktemp("api") / "log.txt"
    words = sam.words("local", "start-api", "--port", str(port), "--warm-containers", "EAGER")
    with log.open("wb") as sink:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=DEFAULTS | ENVIRONMENT | QUIET,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
        try:
            _wait(process, port, log)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 120
    while True:
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < until, log.read_text()[-4000:]
        try:
            if http_client(port)(HttpRequest("/api/inference/ready", method="GET")).status == 200:
                return
        except OSError:
            time.sleep(0.5)


def test_start_api_answers_json_as_the_plain_server_does(api: int, server_port: int) -> None:
    for case in CASES:
        body = make_event(FOLDER / case["file"], "json", query="", bucket="")
        request = HttpRequest(
            "/api/inference/heatmap",
            QUERY,
            headers={"content-type": "application/json"},
            body=json.dumps(body).encode(),
        )
        answer, served = http_client(api)(request), http_client(server_port)(request)
        assert answer.status == served.status, answer.body
        assert comparable(answer.body) == comparable(served.body), case["file"]


@pytest.mark.parametrize("path", ["/", "/static/js/app.js", "/openapi.json", "/api/inference/health"])
def test_start_api_serves_the_page_and_its_files(api: int, path: str) -> None:
    assert http_client(api)(HttpRequest(path, method="GET")).status == 200


def test_make_invoke_of_the_readme() -> None:
    for old in (ROOT / "out" / "invoke").glob("*.png"):
        old.unlink()

    shell(block("make invoke"))

    names = [f"{path.name}.heatmap" for path in sorted(SAMPLES.iterdir()) if path.suffix != ".json"]
    assert sorted(path.stem for path in (ROOT / "out" / "invoke").glob("*.png")) == names
