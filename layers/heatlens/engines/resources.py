"""Read the memory, the processors and the GPUs that this process may use."""

import ctypes
import math
import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from heatlens.settings import MIB

MEMORY_ENV = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"  # MiB
LAMBDA_MIB_PER_PROCESSOR = 1769
LAMBDA_MOST_PROCESSORS = 6
_CUDA_DRIVER = "libcuda.so.1"
_GROUPS = Path("sys/fs/cgroup")
_UNLIMITED = 2**60  # bytes; version 1 writes "no limit" as a number beyond any memory


@dataclass(frozen=True, slots=True)
class Machine:
    """Bytes of memory and processors (fractions count) of this process; `None` if nothing limits them."""

    memory_bytes: int | None = None
    processors: float | None = None

    @property
    def threads(self) -> int:
        """Return how many threads are useful: one per processor or fraction of one; 0 if nothing is known."""
        # `os.cpu_count()` and inference engines count the host's processors. More threads than the process's share use
        # it up faster, and then all of them are throttled.
        return 0 if self.processors is None else max(1, math.ceil(self.processors))

    @property
    def parallel(self) -> int:
        """Return how many things are useful at a time: `threads`, else the processors that this process may run on."""
        return self.threads or len(os.sched_getaffinity(0))


def read_machine(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> Machine:
    """Read Lambda's environment, else the control groups of version 2 or 1 and the process's own limit (`ulimit -v`).

    Args:
        environ: On Lambda it has the memory; there is one processor per 1,769 MiB, six at most.
        root: Where `proc` and `sys` are.
    """
    memory = environ.get(MEMORY_ENV, "")
    if memory.isdecimal():
        processors = int(memory) / LAMBDA_MIB_PER_PROCESSOR
        return Machine(int(memory) * MIB, min(processors, LAMBDA_MOST_PROCESSORS))
    limits = [limit for folder in _folders(root, "memory") if (limit := _memory(folder))]
    limits += [own] if (own := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY else []
    shares = [share for folder in _folders(root, "cpu") if (share := _processors(folder))]
    return Machine(min(limits, default=None), min(shares, default=None))


def cuda_devices() -> int:
    """Count the GPUs that NVIDIA's driver lets this process use; 0 without a driver.

    This calls the driver directly, because importing a framework takes seconds.
    """
    try:
        driver = ctypes.CDLL(_CUDA_DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders whose limits apply to this process: of its own group and of the groups around it.

    In a container the path of the process's group may be the host's, which is not visible there; the container's group
    is then the one at the top.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text()
    except OSError:
        return
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / _GROUPS / controller if controllers else root / _GROUPS
        own = top / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top))


def _memory(folder: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        [limit] = _numbers(folder / name) or [_UNLIMITED]
        if 0 < limit < _UNLIMITED:
            return limit
    return None


def _processors(folder: Path) -> float | None:
    quota = _numbers(folder / "cpu.max")
    if not quota:
        quota = _numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us")
    if len(quota) != 2 or min(quota) <= 0:
        return None
    return quota[0] / quota[1]


def _numbers(path: Path) -> list[int]:
    """Read the numbers in a file; none if it is missing or says `max`."""
    try:
        return [int(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return []
