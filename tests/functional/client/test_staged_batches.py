"""Staged batches by the client, sync and async, against the whole loop on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from heatlens.client import AsyncClient, BatchConflict, Client, NotFound, Progress
from tests.support.coroutines import awaited
from tests.support.dicom_studies import radiograph
from tests.support.dicom_tools import parsed
from tests.support.images import encoded, noise
from tests.support.loop import Loop


@pytest.fixture
def source(tmp_path: Path) -> dict[str, Path | bytes]:
    """Two images, one of them in a folder, and a file that is none."""
    path = tmp_path / "1.png"
    path.write_bytes(encoded(noise((24, 16), seed=1)))
    return {"1.png": path, "ward/2.png": encoded(noise((24, 16), seed=2)), "notes.png": b"no image"}


@pytest.fixture
def client(loop: Loop) -> Iterator[Client]:
    with Client(loop.url) as client:
        yield client


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


EXPECTED = [
    *(f"1.png.heatmap{suffix}" for suffix in (".json", ".npy", ".png")),
    *(f"ward/2.png.heatmap{suffix}" for suffix in (".json", ".npy", ".png")),
]


def test_a_batch_from_creation_to_download(source: dict[str, Path | bytes], client: Client, tmp_path: Path) -> None:
    seen: list[Progress] = []
    batch = client.create_batch(source, colormap="hot", on_progress=seen.append)

    assert batch.upload(seen.append) == {}
    status = batch.wait(seen.append)
    downloaded = batch.download(tmp_path / "out", seen.append)

    assert (status.state, status.counts["OK"], status.counts["FAILED"]) == ("partial", 2, 1)
    assert [(each.name, each.state, each.code) for each in downloaded] == [
        ("1.png", "OK", None),
        ("ward/2.png", "OK", None),
        ("notes.png", "FAILED", "input.unsupported"),
    ]
    assert written(tmp_path / "out") == EXPECTED
    assert [each.name for each in batch.results()] == list(source)
    last = {each.stage: (each.done, each.total) for each in seen}
    assert last == dict.fromkeys(("read", "upload", "explain", "download"), (3, 3))


def test_the_same_with_an_event_loop(source: dict[str, Path | bytes], loop: Loop, tmp_path: Path) -> None:
    async def run() -> tuple[str, list[str], list[str]]:
        async with AsyncClient(loop.url) as client:
            batch = await client.create_batch(source)
            assert await batch.upload() == {}
            status = await batch.wait()
            downloaded = await batch.download(tmp_path / "out")
            assert (await batch.status()).state == status.state
            again = await client.open_batch(batch.id)
            return status.state, [each.state for each in downloaded], [each.name async for each in again.results()]

    assert awaited(run()) == ("partial", ["OK", "OK", "FAILED"], list(source))
    assert written(tmp_path / "out") == EXPECTED


def test_a_retry_repeats_what_failed(source: dict[str, Path | bytes], client: Client, loop: Loop) -> None:
    batch = client.create_batch(source)
    with pytest.raises(BatchConflict) as open_yet:
        batch.retry()
    batch.upload()
    batch.wait()

    again = batch.retry()
    assert again.upload() == {}

    assert open_yet.value.code == "batch.unfinished"
    assert (again.wait().state, again.status().retry_of) == ("failed", batch.id)
    assert [each.name for each in again.results()] == ["notes.png"]

    async def run() -> list[str]:
        async with AsyncClient(loop.url) as other:
            opened = await other.open_batch(batch.id)
            third = await opened.retry()
            await third.upload()
            await third.wait()
            await third.cancel()
            return [each.name async for each in third.results()]

    assert awaited(run()) == ["notes.png"]


def test_a_cancelled_or_purged_batch_is_over(source: dict[str, Path | bytes], client: Client, loop: Loop) -> None:
    cancelled, purged = client.create_batch(source), client.create_batch(source)

    assert cancelled.cancel().state == "cancelled"
    assert purged.purge().state in ("purging", "purged")
    assert client.open_batch(purged.id).status().purge is not None
    with pytest.raises(NotFound, match="or it was erased"):
        client.open_batch(purged.id, source)
    with pytest.raises(NotFound):
        client.open_batch("01ARZ3NDEKTSV4RRFFQ69G5FAV")

    async def run() -> str:
        async with AsyncClient(loop.url) as other:
            return (await (await other.create_batch(source)).purge()).state

    assert awaited(run()) in ("purging", "purged")


def test_results_that_are_there_are_kept(source: dict[str, Path | bytes], client: Client, tmp_path: Path) -> None:
    batch = client.create_batch(source)
    batch.upload()
    batch.wait()
    batch.download(tmp_path)
    kept, damaged = tmp_path / "1.png.heatmap.png", tmp_path / "1.png.heatmap.npy"
    times, numbers = kept.stat().st_mtime_ns, damaged.read_bytes()
    damaged.write_bytes(numbers[:-1])

    batch.download(tmp_path)

    assert (kept.stat().st_mtime_ns, damaged.read_bytes()) == (times, numbers)


def test_a_file_that_cannot_be_read_ends_before_a_batch_is_made(client: Client) -> None:
    with pytest.raises(FileNotFoundError):
        client.create_batch(["gone.png"])


def test_dicom_objects_are_downloaded_too(client: Client, tmp_path: Path) -> None:
    batch = client.create_batch({"scan.dcm": radiograph()}, dicom="seg,sc", include="map")
    batch.upload()
    batch.wait()
    [downloaded] = batch.download(tmp_path / "out")

    names = [f"scan.dcm.heatmap{suffix}" for suffix in (".json", ".npy", ".sc.dcm", ".seg.dcm")]
    assert written(tmp_path / "out") == names
    assert sorted(path.name for path in downloaded.paths) == names
    assert [parsed((tmp_path / "out" / name).read_bytes()).Modality for name in names[2:]] == ["OT", "SEG"]
    [result] = batch.results()
    assert result.links is not None
    assert list(result.links.dicom or ()) == ["sc", "seg"]
