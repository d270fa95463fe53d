"""The whole loop of staged batches in its own process, and helpers to run a folder through it."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Any

import httpx2
import pytest

from heatlens_aws.clients import Clients, connect
from heatlens_aws.settings import AwsSettings
from heatlens_cli.batch.run import run_batch
from infra.local_account import BUCKET, CREDENTIALS
from tests.support.paths import ROOT

Wanted = Callable[[httpx2.Request], bool]


@dataclass(frozen=True)
class Loop:
    url: str
    storage: str

    def clients(self, monkeypatch: pytest.MonkeyPatch) -> Clients:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HEATLENS_ENDPOINT_URL", self.storage)
        return connect(AwsSettings(endpoint_url=self.storage))

    def run(
        self,
        source: Path | str,
        folder: Path,
        *,
        force: bool = False,
        **options: Any,  # noqa: ANN401 - of any kind
    ) -> int:
        return run_batch(str(source), folder, url=self.url, headers={}, options=options, force=force)


@contextmanager
def running_loop(**settings: str) -> Iterator[Loop]:
    words = [sys.executable, "infra/local_batches.py"]
    process = subprocess.Popen(
        words, cwd=ROOT, env=environ | settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    words = process.stdout.readline().split()
    # It prints a line per image from now on, and would block once the pipe is full.
    reader = threading.Thread(target=process.stdout.read)
    reader.start()
    try:
        yield Loop(words[3].removesuffix("/api/inference/batches,"), words[-1])
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        reader.join()
        process.stdout.close()


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def heatmaps(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.heatmap.png"))


def versions(clients: Clients, prefix: str) -> list[str]:
    pages = clients.s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=prefix)
    return [each["Key"] for page in pages for each in page.get("Versions", [])]


def asks(method: str, *ends: str) -> Wanted:
    """Return whether a request's path has one of these endings."""
    return lambda request: request.method == method and request.url.path.endswith(ends)


def meddle(
    monkeypatch: pytest.MonkeyPatch, wanted: Wanted, does: Callable[[Callable[[], httpx2.Response]], Any]
) -> None:
    """Let `does` respond to the first matching request, given the real call; all others go through."""
    send, met = httpx2.Client.send, list[bool]()

    def meddled(client: httpx2.Client, request: httpx2.Request, **how: Any) -> Any:  # noqa: ANN401 - passes through
        if met or not wanted(request):
            return send(client, request, **how)
        met.append(True)
        answer = does(lambda: send(client, request, **how))
        answer.request = request
        return answer

    monkeypatch.setattr(httpx2.Client, "send", meddled)


def recorded(monkeypatch: pytest.MonkeyPatch, wanted: Wanted) -> list[str]:
    """Record the paths of matching requests as they are made."""
    send, paths = httpx2.Client.send, list[str]()

    def noted(client: httpx2.Client, request: httpx2.Request, **how: Any) -> Any:  # noqa: ANN401 - passes through
        if wanted(request):
            paths.append(request.url.path)
        return send(client, request, **how)

    monkeypatch.setattr(httpx2.Client, "send", noted)
    return paths
