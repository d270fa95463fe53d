"""Test the peak of a process's memory."""

import subprocess
import sys

from heatlens.engines.peak_memory import peak_mib

GROW = """
from heatlens.engines.peak_memory import peak_mib
before = peak_mib()
taken = b"x" * (64 << 20)
print(before, peak_mib())
"""


def test_counts_what_was_taken_and_not_what_the_parent_had() -> None:
    taken = b"x" * (256 << 20)

    found = subprocess.run([sys.executable, "-c", GROW], capture_output=True, text=True, check=True)

    before, after = map(float, found.stdout.split())
    assert 60 < after - before < 100
    assert after < len(taken) / (1 << 20) < peak_mib()
