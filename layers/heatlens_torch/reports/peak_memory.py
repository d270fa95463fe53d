"""How much memory this process had at most; imports nothing, so that it measures nothing of its own."""

from pathlib import Path


def peak_megabytes() -> float:
    """Most megabytes that this program had resident; `getrusage` would count what its parent had before."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
