"""API, verified links, the bucket's queue and the worker together, from declaring to results."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from functions.batch.sweep import sweep
from heatlens_cli.batch.run import run_batch
from heatlens_web.app import create_app
from heatlens_web.batches import service
from heatlens_web.settings import ServerSettings
from infra.local_account import LocalAccount
from infra.local_batches import Worker
from tests.staging.poller import Poller
from tests.support.local_server import local_server
from tests.support.staged import Staged, picture

URL = "/api/inference/batches"


@pytest.fixture
def api(staged: Staged, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(service, "COUNTS_LIVE_S", 0.0)
    return TestClient(create_app(ServerSettings(model_dir=tiny_folder), deployment="lambda"))


def declared(api: TestClient, files: list[bytes]) -> tuple[str, list[dict[str, Any]]]:
    """Declare a batch; return its URL and the links to its files."""
    batch = f"{URL}/{api.post(URL, json={'expected_files': len(files)}).json()['batch_id']}"
    declarations = [
        {"name": "a.png", "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "media_type": "image/png"}
        for data in files
    ]
    return batch, api.post(f"{batch}/files", json={"files": declarations}).json()["files"]


def send(link: dict[str, Any], data: bytes) -> int:
    return httpx2.put(link["url"], headers=link["headers"], content=data).status_code


def ended(api: TestClient, batch: str, poller: Poller) -> str:
    """Close a batch, process it to its end and return its state."""
    api.post(f"{batch}/close")
    answer: dict[str, Any] = {}
    poller.until(lambda: answer.update(api.get(batch).json()) or answer["state"] not in ("open", "running"))
    return str(answer["state"])


def results(api: TestClient, batch: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"{batch}/results").json()["results"]
    return found


def test_from_declaring_to_results(api: TestClient, staged: Staged, poller: Poller) -> None:
    files = [picture(seed) for seed in range(3)]
    batch, links = declared(api, files)
    assert [send(link, bytes(len(data))) for link, data in zip(links, files, strict=True)] == [400, 400, 400]
    assert [send(link, data) for link, data in zip(links, files, strict=True)] == [200, 200, 200]
    assert send(links[0], files[0]) == 412
    assert api.post(f"{batch}/files/links").json()["files"] == []

    assert ended(api, batch, poller) == "succeeded"

    for result in results(api, batch):
        overlay, whole = (httpx2.get(result["links"][name]) for name in ("overlay", "result"))
        assert overlay.content.startswith(b"\x89PNG")
        assert whole.json()["input"] == {"sha256": hashlib.sha256(files[result["number"]]).hexdigest()}


def test_missing_files_get_fresh_links_and_end_as_missing(api: TestClient, staged: Staged, poller: Poller) -> None:
    files = [picture(seed) for seed in range(3)]
    batch, links = declared(api, files)
    send(links[1], files[1])

    fresh = api.post(f"{batch}/files/links").json()["files"]
    assert [link["number"] for link in fresh] == [0, 2]
    assert send(fresh[0], files[0]) == 200

    assert ended(api, batch, poller) == "partial"
    assert [result["state"] for result in results(api, batch)] == ["OK", "OK", "MISSING"]


def test_a_retry_copies_failed_files_and_processes_them(api: TestClient, staged: Staged, poller: Poller) -> None:
    files = [picture(), b"no image"]
    batch, links = declared(api, files)
    for link, data in zip(links, files, strict=True):
        assert send(link, data) == 200
    assert ended(api, batch, poller) == "partial"

    again = f"{URL}/{api.post(URL, json={'retry_of': batch.rpartition('/')[2]}).json()['batch_id']}"

    assert ended(api, again, poller) == "failed"
    assert [(result["state"], result["code"]) for result in results(api, again)] == [("FAILED", "input.unsupported")]


def test_a_purge_leaves_nothing(api: TestClient, staged: Staged, poller: Poller) -> None:
    data = picture()
    batch, [link] = declared(api, [data])
    send(link, data)
    assert ended(api, batch, poller) == "succeeded"
    [result] = results(api, batch)

    assert api.delete(batch, params={"purge": True}).json()["state"] == "purging"
    assert sweep(staged.context.account, int(time.time()), lambda: 100)["failed"] == 0

    left = staged.aws.clients.s3.list_object_versions(Bucket=staged.aws.settings.bucket)
    assert (left.get("Versions", []), left.get("DeleteMarkers", [])) == ([], [])
    assert api.get(batch).json()["state"] == "purged"
    assert httpx2.get(result["links"]["overlay"]).status_code == 404


@pytest.fixture
def server(staged: Staged, tiny_folder: Path) -> Iterator[str]:
    """The address of `heatlens serve` on the account."""
    with local_server(HEATLENS_MODEL_DIR=str(tiny_folder)) as port:
        yield f"http://127.0.0.1:{port}"


def test_the_batch_command_runs_a_folder_through_server_and_worker(
    local: LocalAccount, staged: Staged, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from functions.batch import sweeper  # it opens the account at import

    monkeypatch.setattr(sweeper, "account", staged.context.account)
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    names = [f"{seed} Müller+.png" for seed in range(4)]
    for seed, name in enumerate(names):
        (scans / name).write_bytes(picture(seed))
    worker = Worker(local)
    worker.start()
    try:
        assert run_batch(str(scans), out, url=server, headers={}, options={}) == 0
    finally:
        worker.end()

    assert sorted(path.name for path in out.glob("*.png")) == [f"{name}.heatmap.png" for name in names]
    assert sum(staged.engine.sizes) == len(names)
