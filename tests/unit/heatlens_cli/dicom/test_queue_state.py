"""`status` prints counts and reasons; `retry` puts back what failed, all or by name."""

from pathlib import Path

import pytest

from heatlens_cli.dicom.disk_queue import DiskQueue, Entry
from heatlens_cli.dicom.queue_state import print_status, put_back


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a queue in which one instance waits, two failed, and one is done."""
    path = tmp_path / "pacs.toml"
    path.write_text('[queue]\nfolder = "queue"\n[[rule]]\nmodel = "model"\n')
    queue = DiskQueue(tmp_path / "queue")
    for number in range(4):
        queue.add(Entry(study="1", series="1.1", instance=f"1.1.{number}", queued=number))
    with queue.opened():
        queue.finish(Entry(study="1", series="1.1", instance="1.1.0", queued=0))
        for number in (1, 2):
            queue.fail(Entry(study="1", series="1.1", instance=f"1.1.{number}", queued=number), f"reason {number}")
    return path


def test_the_state_is_counted_and_failures_have_their_reason(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_status(file)

    first, *failed = capsys.readouterr().out.splitlines()
    assert first == "1 waiting, 2 failed, 1 done"
    assert [(line.split()[0], line.split("  ")[-1]) for line in failed] == [
        ("1.1.1", "reason 1"),
        ("1.1.2", "reason 2"),
    ]


def test_a_queue_that_does_not_exist_yet_is_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pacs.toml"
    path.write_text('[[rule]]\nmodel = "model"\n')
    print_status(path)

    assert capsys.readouterr().out == "0 waiting, 0 failed, 0 done\n"


def test_all_that_failed_waits_again(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert put_back(file, ()) == 0

    assert capsys.readouterr().out == "2 of 2 wait again\n"
    print_status(file)
    assert capsys.readouterr().out == "3 waiting, 0 failed, 1 done\n"


def test_one_that_is_named_waits_again_and_others_are_reported(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert put_back(file, ["1.1.2", "1.1.0"]) == 1

    printed = capsys.readouterr()
    assert printed.out == "1 of 2 wait again\n"
    assert printed.err.startswith("1.1.0: has not failed: ")
    print_status(file)
    assert capsys.readouterr().out.startswith("2 waiting, 1 failed, 1 done\n1.1.1 ")
