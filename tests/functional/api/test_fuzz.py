"""A small share of `make fuzz`: requests to a running server, and each coverage-guided target; also `make corpus`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.corpus import Reply, report
from tests.fuzz.hooks import IMAGES
from tests.fuzz.targets import TARGETS
from tests.support.paths import ROOT, SAMPLES


@pytest.mark.contract("fuzz")
def test_every_generated_request_is_answered_as_described() -> None:
    words = [sys.executable, "-m", "tests.fuzz", "--examples", "10", "--phases", "examples,fuzzing,stateful"]

    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout
    [generated] = re.findall(r"^  (\d+) generated, \1 passed$", ended.stdout, re.MULTILINE)
    assert int(generated) > 100


def test_the_generated_images_are_of_every_kind() -> None:
    kinds = {b"\x89PNG": "PNG", b"\xff\xd8": "JPEG", b"RIFF": "WebP", b"BM": "BMP", b"II*": "TIFF", b"": "empty"}

    image_kinds = {
        kind for data in IMAGES for head, kind in kinds.items() if (data.startswith(head) if head else not data)
    }

    assert image_kinds == set(kinds.values())


@pytest.mark.parametrize("target", TARGETS)
def test_no_changed_seed_breaks_what_a_target_states(target: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.fuzz.coverage", target, "--runs", "500", "--folder", str(tmp_path)]

    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)

    assert TARGETS[target].seeds
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "DONE" in ended.stderr


def test_the_corpus_report_names_failures_and_other_sizes() -> None:
    good = Reply("a.png", 200, "", 0.1, 100, (2, 3), (2, 3))
    turned = Reply("b.jpg", 200, "", 2.0, 300, (2, 3), (3, 2))
    broken = Reply("c.tif", 500, "generation.failed", 1.0, 200)

    lines = report([good, turned, broken])

    assert [reply.failed for reply in (good, turned, broken)] == [False, True, True]
    assert "    1     500  generation.failed  such as c.tif" in lines
    assert lines[lines.index("seconds  peak MiB  slowest files") + 1] == "   2.00       300  b.jpg"
    assert "highest memory: 300 MiB" in lines
    assert "sizes compared with Pillow: 2, different: 1" in lines
    assert lines[-1] == "  b.jpg: (2, 3), Pillow (3, 2)"


def test_a_folder_of_files_is_sent_to_a_server_and_counted() -> None:
    words = [sys.executable, "-m", "tests.fuzz.corpus", str(SAMPLES)]

    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    files = [path for path in SAMPLES.rglob("*") if path.is_file()]
    images = sum(path.suffix in (".png", ".jpg") for path in files)
    assert ended.stdout.startswith(f"{len(files)} files\n")
    assert f"{images:>5}     200  -" in ended.stdout
