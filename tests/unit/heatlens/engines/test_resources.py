import os
import resource
from pathlib import Path
from typing import Any

import pytest

from heatlens.engines.resources import MEMORY_ENV, Machine, cuda_devices, read_machine
from heatlens.settings import MIB

MAX = str(2**63 - 4096)  # what version 1 says for "no limit"


def tree(root: Path, group: str, **files: str) -> Path:
    """A `proc` and a `sys`; a keyword is a path below the control groups, `__` for a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        folder, _, file = name.replace("__", "/").rpartition("/")
        path = root / "sys/fs/cgroup" / folder / file.replace("_", ".", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("memory", "processors", "threads"),
    [
        ("128", 128 / 1769, 1),
        ("1769", 1.0, 1),
        ("1770", 1770 / 1769, 2),
        ("3008", 3008 / 1769, 2),
        ("10240", 10240 / 1769, 6),
        ("99999", 6, 6),
    ],
)
def test_on_lambda_memory_determines_the_processors(
    memory: str, processors: float, threads: int, tmp_path: Path
) -> None:
    machine = read_machine({MEMORY_ENV: memory}, tmp_path)

    assert machine == Machine(int(memory) * MIB, processors)
    assert machine.threads == threads


def test_on_lambda_control_groups_are_not_read(tmp_path: Path) -> None:
    tree(tmp_path, "0::/\n", memory_max="1000", cpu_max="50000 100000")

    assert read_machine({MEMORY_ENV: "1769"}, tmp_path) == Machine(1769 * MIB, 1)


def test_reads_control_groups_of_version_2(tmp_path: Path) -> None:
    tree(tmp_path, "0::/\n", memory_max="536870912\n", cpu_max="150000 100000\n")

    machine = read_machine({}, tmp_path)

    assert machine == Machine(512 * MIB, 1.5)
    assert machine.threads == 2


def test_the_lowest_limit_of_the_enclosing_groups_applies(tmp_path: Path) -> None:
    files = {"a__b__memory_max": "max", "a__memory_max": "3000", "memory_max": "4000"}
    files |= {"a__b__cpu_max": "400000 100000", "a__cpu_max": "max 100000"}
    tree(tmp_path, "0::/a/b\n", **files)

    assert read_machine({}, tmp_path) == Machine(3000, 4.0)


def test_reads_control_groups_of_version_1(tmp_path: Path) -> None:
    group = "9:name=systemd:/\n4:memory:/docker/1\n1:cpu,cpuacct:/docker/1\n0::/\n"
    # The path is the host's; the container's own group is what it sees at the top.
    files = {"memory__memory_limit_in_bytes": "2000", "cpu__cpu_cfs_quota_us": "50000"}
    tree(tmp_path, group, **files, cpu__cpu_cfs_period_us="100000")

    machine = read_machine({}, tmp_path)

    assert machine == Machine(2000, 0.5)
    assert machine.threads == machine.parallel == 1


@pytest.mark.parametrize("environ", [{}, {MEMORY_ENV: ""}, {MEMORY_ENV: "much"}])
def test_without_a_limit_nothing_is_known(environ: dict[str, str], tmp_path: Path) -> None:
    group = "4:memory:/\n1:cpu:/\n0::/\n"
    files = {"memory__memory_limit_in_bytes": MAX, "cpu__cpu_cfs_quota_us": "-1", "cpu__cpu_cfs_period_us": "100000"}
    tree(tmp_path, group, **files, memory_max="max", cpu_max="max 100000")

    machine = read_machine(environ, tmp_path)

    assert machine == Machine(None, None)
    assert machine.threads == 0
    assert machine.parallel == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("own", "memory"), [(2000, 2000), (4000, 3000), (resource.RLIM_INFINITY, 3000)])
def test_the_limit_of_the_process_counts(
    own: int, memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "0::/\n", memory_max="3000")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (own, own))

    assert read_machine({}, tmp_path) == Machine(memory)


class Driver:
    """NVIDIA's, with so many GPUs, or one that answers an error."""

    def __init__(self, gpus: int, error: int = 0) -> None:
        self.gpus, self.error = gpus, error

    def cuInit(self, _flags: int) -> int:  # noqa: N802 - the driver's name
        return self.error

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: ANN401, N802 - a pointer
        count._obj.value = self.gpus
        return 0


@pytest.mark.parametrize(("driver", "gpus"), [(Driver(2), 2), (Driver(0), 0), (Driver(2, error=100), 0), (None, 0)])
def test_counts_the_gpus_of_the_driver(driver: Driver | None, gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Driver:
        assert name == "libcuda.so.1"
        if driver is None:
            raise OSError("cannot open shared object file")
        return driver

    monkeypatch.setattr("ctypes.CDLL", load)

    assert cuda_devices() == gpus


def test_without_control_groups_nothing_is_known(tmp_path: Path) -> None:
    assert read_machine({}, tmp_path) == Machine(None, None)
