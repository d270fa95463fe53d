"""A small share of `make fuzz`: schemathesis against a running server."""

import re
import subprocess
import sys

import pytest

from tests.fuzz.hooks import IMAGES
from tests.support.paths import ROOT


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
