"""The programs of layers/client.md run as they are printed."""

import re
import subprocess
import sys
from pathlib import Path

from heatlens.client import errors
from tests.support.loop import Loop
from tests.support.paths import ROOT, SAMPLES

PAGE = (ROOT / "layers" / "client.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(program: str, url: str, folder: Path) -> str:
    program = program.replace("http://127.0.0.1:8000", url).replace('"heatmap.png"', f'"{folder}/heatmap.png"')
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_program_saves_a_heatmap(server_port: int, tmp_path: Path) -> None:
    assert run(PROGRAMS[0], f"http://127.0.0.1:{server_port}", tmp_path) == "OPACITY ok (20, 20)\n"
    assert (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")


def test_the_program_with_an_event_loop(server_port: int, tmp_path: Path) -> None:
    printed = run(PROGRAMS[1], f"http://127.0.0.1:{server_port}", tmp_path)

    assert printed == "phantom-01-opacity.png OPACITY\nphantom-04-clear.png CLEAR\n"


def test_the_program_of_a_staged_batch(loop: Loop, tmp_path: Path) -> None:
    lines = run(PROGRAMS[2].replace("out/client", str(tmp_path)), loop.url, tmp_path).splitlines()

    names = sorted(path.name for path in SAMPLES.glob("*.png"))
    assert lines[-len(names) :] == [f"{name} OK 3" for name in names]
    assert f"explain {len(names)} {len(names)}" in lines
    assert len(list(tmp_path.iterdir())) == 3 * len(names)
    assert len(PROGRAMS) == 3


def test_every_error_is_documented() -> None:
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
    names = {each.__name__ for each in vars(errors).values() if isinstance(each, type)}

    bases = {"Any", "HeatlensError", "ClientError", "ApiError"}
    assert [name for name in sorted(names - bases) if f"`{name}`" not in rows] == []
