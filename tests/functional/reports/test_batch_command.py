"""`heatlens batch run` overwrites nothing that it has not written itself."""

from pathlib import Path

import pytest

from heatlens_cli.batch.names import RESULTS
from heatlens_cli.batch.run import run_batch
from heatlens_cli.explain_files import WouldOverwrite
from tests.support.images import encoded, noise
from tests.support.loop import Loop, heatmaps, results


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for index in range(2):
        (folder / f"{index}.png").write_bytes(encoded(noise((24, 16), seed=index)))
    return folder


@pytest.mark.parametrize("name", ["1.png.heatmap.png", RESULTS])
def test_a_file_of_the_user_in_the_output_folder_is_kept(name: str, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("months of work")

    with pytest.raises(WouldOverwrite, match=rf"{name} exist: name another --out, or --force to overwrite them"):
        run_batch(str(source), out, url="http://127.0.0.1:1", headers={}, options={})

    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, "months of work")]


def test_force_repeats_a_finished_run(source: Path, tmp_path: Path, loop: Loop) -> None:
    out = tmp_path / "out"
    assert loop.run(source, out) == 0
    first = {each["batch"] for each in results(out)}

    with pytest.raises(WouldOverwrite, match=r"0\.png.heatmap.png and 2 more exist"):
        loop.run(source, out)

    assert run_batch(str(source), out, url=loop.url, headers={}, options={}, force=True) == 0
    assert {each["batch"] for each in results(out)}.isdisjoint(first)
    assert len(heatmaps(out)) == 2
