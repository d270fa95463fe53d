"""`make run-batch`: progress, no logs, and a command that verifies what the bucket has."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.images import encoded, noise
from tests.support.paths import HEATLENS, ROOT


def test_a_local_batch_shows_progress_and_can_be_verified_afterwards(tmp_path: Path) -> None:
    source, out = tmp_path / "scans", tmp_path / "out"
    source.mkdir()
    for index in range(2):
        (source / f"{index}.png").write_bytes(encoded(noise((24, 16), seed=index)))
    words = [sys.executable, "infra/local_batches.py", str(source), str(out)]

    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=False, text=True, timeout=120)

    assert (done.returncode, done.stderr) == (0, "")
    assert "{" not in done.stdout, "no JSON lines"
    assert "upload 2 of 2\n" in done.stdout
    assert f"bucket heatlens-staging, copied to {out}-bucket\n" in done.stdout
    [command] = re.findall(r"^verify it: heatlens (verify .+)$", done.stdout, re.MULTILINE)
    verified = subprocess.run([str(HEATLENS), *command.split()], capture_output=True, check=False, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")
    [overlay] = (tmp_path / "out-bucket").rglob("00001/*/overlay.png")
    shutil.copy(ROOT / "README.md", overlay)
    assert subprocess.run([str(HEATLENS), *command.split()], capture_output=True, check=False).returncode == 1
