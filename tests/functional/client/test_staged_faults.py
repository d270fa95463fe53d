"""Staged batches while server and storage drop connections, refuse, lose answers and die during uploads.

Whatever happens, each file is stored once, each has one result, and a batch can be continued.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from heatlens.client import AsyncClient, Client, TransferFailed
from heatlens.client.retries import TRIES
from tests.support.coroutines import awaited
from tests.support.faulty_server import (
    Fault,
    FaultyServer,
    Handler,
    answers,
    dies_during_the_answer,
    dies_during_the_upload,
    drops,
    faulty_server,
    loses_the_answer,
    passes,
)
from tests.support.images import encoded, noise
from tests.support.loop import Loop, versions
from tests.support.paths import ROOT

API = "/api/inference/batches"
CREDENTIALS = {"api_key": "key-of-the-ward", "token": "token-of-the-ward", "headers": {"X-Secret": "of-the-ward"}}
FILES = {f"{number}.png": encoded(noise((40, 30), seed=number)) for number in range(3)}
# What the step's request is, and whether it goes to the storage.
STEPS: dict[str, tuple[Callable[[str, str], bool], bool]] = {
    "create": (lambda method, path: method == "POST" and path == API, False),
    "declare": (lambda method, path: method == "POST" and path.endswith("/files"), False),
    "links": (lambda _, path: "/files/links" in path, False),
    "close": (lambda _, path: path.endswith("/close"), False),
    "status": (lambda method, path: method == "GET" and path.rpartition("/")[0] == API, False),
    "results": (lambda _, path: "/results?" in path, False),
    "upload": (lambda method, _: method == "PUT", True),
    "facts": (lambda method, path: method == "GET" and "result.json" in path, True),
    "overlay": (lambda method, path: method == "GET" and "overlay.png" in path, True),
}
PASSING: dict[str, Fault] = {
    "drops": drops,
    "loses the answer": loses_the_answer,
    "dies during the upload": dies_during_the_upload,
    "dies during the answer": dies_during_the_answer,
    "503": answers(503, b"", retry_after="0"),
    "429": answers(429, b"", retry_after="0"),
}


@dataclass(frozen=True)
class Servers:
    """The server and its storage, both with faults."""

    api: FaultyServer
    storage: FaultyServer


@pytest.fixture
def servers(loop: Loop) -> Iterator[Servers]:
    with faulty_server(loop.storage) as storage, faulty_server(loop.url) as api:
        api.rewrite[loop.storage] = storage.url
        yield Servers(api, storage)


@pytest.fixture(autouse=True)
def _declares_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatlens.client.batch_steps.DECLARE_WAIT_S", 0.001)


def whole_batch(url: str, folder: Path) -> str:
    """Run a batch to its end, and return its id."""
    with Client(url, **CREDENTIALS) as client:  # type: ignore[arg-type]
        batch = client.create_batch(FILES)
        assert batch.upload() == {}
        assert batch.wait().state == "succeeded"
        assert [each.error for each in batch.download(folder)] == [None] * len(FILES)
        return batch.id


def whole_batch_async(url: str, folder: Path) -> str:
    """Do the same with an event loop."""

    async def run() -> str:
        async with AsyncClient(url, **CREDENTIALS) as client:  # type: ignore[arg-type]
            batch = await client.create_batch(FILES)
            assert await batch.upload() == {}
            assert (await batch.wait()).state == "succeeded"
            assert [each.error for each in await batch.download(folder)] == [None] * len(FILES)
            return batch.id

    return awaited(run())


def overlays(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.heatmap.png"))


@pytest.mark.parametrize("run", [whole_batch, whole_batch_async], ids=["sync", "async"])
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_at_every_step_loses_and_doubles_no_file(
    fault: Fault,
    run: Callable[[str, Path], str],
    servers: Servers,
    loop: Loop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clients = loop.clients(monkeypatch)
    before = len(versions(clients, "in/"))
    plans = {
        step: (servers.storage if at_storage else servers.api).expect(fault, of=wanted)
        for step, (wanted, at_storage) in STEPS.items()
    }

    batch = run(servers.api.url, tmp_path)

    assert [step for step, plan in plans.items() if plan.faults] == [], "every step had its fault"
    assert len(versions(clients, "in/")) - before == len(FILES), "each was stored once"
    assert overlays(tmp_path) == [f"{name}.heatmap.png" for name in FILES]
    with Client(loop.url) as client:
        assert [each.name for each in client.open_batch(batch).results()] == list(FILES)
    assert not any("of-the-ward" in str(each.headers) for each in servers.storage.seen)
    assert all("of-the-ward" in str(each.headers) for each in servers.api.seen)


def test_a_lost_answer_to_declaring_leaves_no_second_batch(servers: Servers, loop: Loop, tmp_path: Path) -> None:
    servers.api.expect(loses_the_answer, of=STEPS["declare"][0])

    batch = whole_batch(servers.api.url, tmp_path)

    created = [each for each in servers.api.seen if each.method == "POST" and each.path == API]
    erased = [each.path for each in servers.api.seen if each.method == "DELETE"]
    assert len({each.headers["idempotency-key"] for each in created}) == len(created) == 2
    assert len(erased) == 1
    assert batch not in erased[0]
    with Client(loop.url) as client:
        assert client.open_batch(erased[0].split("/")[-1].split("?")[0]).status().purge is not None


def test_a_storage_that_stays_away_leaves_the_batch_open_and_it_is_continued(
    servers: Servers, loop: Loop, tmp_path: Path
) -> None:
    plan = servers.storage.expect(passes, *[answers(503, b"")] * 50, of=STEPS["upload"][0])
    with Client(servers.api.url) as client:
        batch = client.create_batch(FILES)
        with pytest.raises(TransferFailed, match=r"2 of 3 files were not uploaded .*: upload again to continue"):
            batch.upload()
        assert batch.status().state == "open"
    puts = [each.path.partition("?")[0] for each in servers.storage.seen]
    assert len(puts) == 1 + 2 * TRIES
    plan.faults.clear()
    servers.storage.seen.clear()

    with Client(servers.api.url) as client:
        again = client.open_batch(batch.id, FILES)
        assert again.upload() == {}
        assert again.wait().state == "succeeded"

    assert len(servers.storage.seen) == 2, "the file that was there was not sent again"


def test_a_refused_upload_fails_alone(servers: Servers) -> None:
    servers.storage.expect(*[answers(400, b"")] * 50, of=lambda method, path: method == "PUT" and "/00001" in path)
    with Client(servers.api.url) as client:
        batch = client.create_batch(FILES)
        failures = batch.upload()
        states = [batch.wait().state, *(each.state for each in batch.results())]

    assert {name: error.status for name, error in failures.items()} == {"1.png": 400}
    assert states == ["partial", "OK", "MISSING", "OK"]
    assert len([each for each in servers.storage.seen if "/00001" in each.path]) == 1


def test_an_expired_link_is_signed_again(servers: Servers, tmp_path: Path) -> None:
    expired = answers(403, b"<Error>")
    put = servers.storage.expect(expired, of=lambda method, path: method == "PUT" and "/00001" in path)
    get = servers.storage.expect(expired, of=lambda _, path: "/00001/" in path and "overlay.png" in path)

    whole_batch(servers.api.url, tmp_path)

    assert put.faults == get.faults == []
    assert overlays(tmp_path) == [f"{name}.heatmap.png" for name in FILES]


def test_a_result_with_other_bytes_is_not_kept(servers: Servers, tmp_path: Path) -> None:
    servers.storage.expect(answers(200, b"other bytes"), of=STEPS["overlay"][0])
    with Client(servers.api.url) as client:
        batch = client.create_batch({"1.png": FILES["1.png"]})
        batch.upload()
        batch.wait()
        [first] = batch.download(tmp_path)
        [second] = batch.download(tmp_path)

    assert str(first.error) == "its bytes differ from the committed digest"
    assert (second.error, overlays(tmp_path)) == (None, ["1.png.heatmap.png"])
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".new"] == []


def test_a_file_that_changes_before_its_upload_is_not_stored(servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    path.write_bytes(FILES["1.png"])
    with Client(servers.api.url) as client:
        batch = client.create_batch([path])
        path.write_bytes(FILES["2.png"])
        failures = batch.upload()

    assert failures["1.png"].code == "source.changed"
    assert batch.id


def test_a_process_that_is_killed_during_an_upload_is_continued_by_another(
    servers: Servers, loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id is all that the next process needs."""
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    program = (
        "import sys, pathlib; from heatlens.client import Client\n"
        "client = Client(sys.argv[1]); batch = client.create_batch(sorted(pathlib.Path(sys.argv[2]).glob('*.png')))\n"
        "print(batch.id, flush=True); batch.upload()"
    )
    command = [sys.executable, "-c", program, servers.api.url, str(tmp_path)]
    clients = loop.clients(monkeypatch)
    before = len(versions(clients, "in/"))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:

        def kills(handler: Handler) -> None:
            handler.read_body(1000)
            os.kill(process.pid, signal.SIGKILL)
            handler.cut()

        plan = servers.storage.expect(passes, kills, drops, drops, of=STEPS["upload"][0])
        assert process.stdout is not None
        batch_id = process.stdout.readline().strip()
        assert process.wait(timeout=60) == -signal.SIGKILL
    plan.faults.clear()

    with Client(servers.api.url) as client:
        batch = client.open_batch(batch_id, [tmp_path / name for name in FILES])
        assert batch.upload() == {}
        assert batch.wait().counts["OK"] == len(FILES)
    assert len(versions(clients, "in/")) - before == len(FILES)
