"""`heatlens batch run` with temporary and lasting failures of server, storage and disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from heatlens.client import ApiError, Client
from heatlens.client.retries import TRIES
from heatlens_cli import worker_pool
from heatlens_cli.atomic_file import write_atomically
from heatlens_cli.batch.client import BatchClient
from heatlens_cli.batch.journal import BatchFailed
from heatlens_cli.batch.names import JOURNAL
from tests.functional.cli.test_batch_resume import STEPS
from tests.support.images import encoded, noise
from tests.support.loop import Loop, Wanted, asks, heatmaps, meddle, recorded, results, versions


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.png").write_bytes(encoded(noise((24, 16), seed=index)))
    return folder


def lost(call: Callable[[], httpx2.Response]) -> httpx2.Response:
    """The server does it, and its answer does not arrive."""
    call().close()
    raise httpx2.ReadError("reset")


def busy(_: Callable[[], httpx2.Response]) -> httpx2.Response:
    return httpx2.Response(503, headers={"retry-after": "0"}, json={"detail": "try again"})


@pytest.mark.parametrize("does", [lost, busy])
@pytest.mark.parametrize("step", STEPS)
def test_retries_a_temporary_failure(
    step: str,
    does: Callable[[Callable[[], httpx2.Response]], httpx2.Response],
    source: Path,
    tmp_path: Path,
    loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clients = loop.clients(monkeypatch)
    before = len(versions(clients, "in/"))
    meddle(monkeypatch, STEPS[step], does)

    assert loop.run(source, tmp_path / "out") == 0

    assert len(heatmaps(tmp_path / "out")) == 3
    assert len(versions(clients, "in/")) - before == 3, "each was uploaded once"


def answers(monkeypatch: pytest.MonkeyPatch, wanted: Wanted, status: int) -> list[str]:
    """Give all wanted requests this answer."""
    send, asked = httpx2.Client.send, list[str]()

    def refusing(client: httpx2.Client, request: httpx2.Request, **how: Any) -> Any:  # noqa: ANN401 - passes through
        if not wanted(request):
            return send(client, request, **how)
        asked.append(request.url.path)
        return httpx2.Response(status, request=request)

    monkeypatch.setattr(httpx2.Client, "send", refusing)
    return asked


def test_an_upload_that_is_refused_fails_alone(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, asks("PUT", "/00001"), 400)

    assert loop.run(source, tmp_path / "out") == 1

    codes = [(each["name"], each["state"], each["code"]) for each in results(tmp_path / "out")]
    assert codes == [("0.png", "OK", None), ("1.png", "MISSING", "upload.refused"), ("2.png", "OK", None)]


def test_expired_links_are_signed_again(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wanted in (asks("PUT", "/00001"), asks("GET", "overlay.png"), asks("GET", "result.json")):
        meddle(monkeypatch, wanted, lambda _: httpx2.Response(403))

    assert loop.run(source, tmp_path / "out") == 0

    assert len(heatmaps(tmp_path / "out")) == 3


def test_a_storage_that_refuses_uploads_ends_the_run_which_can_be_resumed(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heatlens_cli.batch.send.THREADS", 2)
    with monkeypatch.context() as patch:
        asked = answers(patch, lambda request: request.method == "PUT", 503)
        with pytest.raises(
            BatchFailed, match=r"refuses uploads .*status 503\): run the same command again to continue"
        ):
            loop.run(source, tmp_path / "out")

    assert len(asked) <= 3 * TRIES
    assert loop.run(source, tmp_path / "out") == 0


def test_a_failed_download_is_reported_and_repeated_by_the_next_run(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "2.png.heatmap.png").mkdir(parents=True)
    wanted = asks("GET", "overlay.png")
    with monkeypatch.context() as patch:
        answers(patch, lambda request: wanted(request) and "/00001/" in request.url.path, 404)
        assert loop.run(source, out) == 1

    output = capsys.readouterr().out
    assert "1.png: heatmap not downloaded: the storage refused with status 404" in output
    assert "2.png: heatmap not downloaded: it cannot be written: Is a directory" in output
    assert "2 heatmaps were not downloaded: run the same command again to download them" in output
    assert (out / JOURNAL).exists()

    (out / "2.png.heatmap.png").rmdir()
    puts = recorded(monkeypatch, lambda request: request.method == "PUT")
    assert loop.run(source, out) == 0
    assert (len(heatmaps(out)), puts) == (3, [])


def test_a_download_with_another_digest_is_not_kept(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    meddle(monkeypatch, asks("GET", "overlay.png"), lambda _: httpx2.Response(200, content=b"other bytes"))
    monkeypatch.setattr(worker_pool, "THREADS", 1)

    assert loop.run(source, tmp_path / "out") == 1

    assert heatmaps(tmp_path / "out") == ["1.png.heatmap.png", "2.png.heatmap.png"]
    assert "0.png: heatmap not downloaded: its bytes differ from the committed digest" in capsys.readouterr().out


def test_declaring_without_a_response_ends_the_run_which_can_be_resumed(
    source: Path, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        answers(patch, STEPS["declare"], 500)
        with pytest.raises(BatchFailed, match="did not answer when files were declared: run the same command again"):
            loop.run(source, tmp_path / "out")

    assert loop.run(source, tmp_path / "out") == 0


def test_a_server_without_staging_is_not_retried(
    source: Path, tmp_path: Path, server_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(monkeypatch, lambda _: True)

    with pytest.raises(ApiError, match=r"refused \(503\): staged batches are not set up on this server"):
        Loop(f"http://127.0.0.1:{server_port}", "").run(source, tmp_path / "out")

    assert calls == ["/api/inference/models", "/api/inference/batches"]


def test_every_try_of_creating_a_batch_has_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that was lost on its way left a second batch, open until its deadline."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    answer = {
        "batch_id": "b",
        "state": "open",
        "lane": "interactive",
        "expected_files": 1,
        "deadline": "2030-01-01T00:00:00Z",
    }
    answers = [httpx2.Response(503), httpx2.Response(201, json=answer), httpx2.Response(201, json=answer)]
    keys: list[str] = []

    def serve(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers["idempotency-key"])
        answer = answers.pop(0)
        answer.request = request
        return answer

    monkeypatch.setattr(httpx2.Client, "send", lambda _client, request, **_how: serve(request))
    with Client("http://server") as http:
        client = BatchClient(http)
        assert [client.create(1, {}), client.create(1, {})] == ["b", "b"]

    assert keys[0] == keys[1] != keys[2]


def test_a_file_is_written_atomically(tmp_path: Path) -> None:
    path = tmp_path / "new" / ("x" * 250)
    with write_atomically(path, overwrite=False) as file:
        file.write(b"first")
        assert not path.exists()

    with pytest.raises(ZeroDivisionError), write_atomically(path, overwrite=True) as file:
        file.write(b"second" * (1 // 0))

    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]
