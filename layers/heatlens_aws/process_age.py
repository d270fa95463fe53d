"""Measure how long this process has run."""

import os
import time
from pathlib import Path

_STAT = Path("/proc/self/stat")
_STARTED = 21  # the field `starttime` in ticks since boot; the fields after the name, which may hold blanks, start at 2


def process_age_ms() -> float:
    """Return the milliseconds since this process started; those of its processor where /proc is missing."""
    try:
        fields = _STAT.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return time.process_time() * 1000
    started = int(fields[_STARTED - 2]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started) * 1000
