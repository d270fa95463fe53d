"""What the API function opens, reads and writes at its start: on Lambda each byte comes over a network first."""

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from heatlens.settings import DEMO_MODEL, MIB
from tests.support.children import printed

# Opened files by path, and whether each was opened for writing; then the bytes that the process has read.
PROGRAM = """
import json, os, sys

opened = []
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
def watch(event, arguments):
    if event == "open" and not isinstance(arguments[0], int):
        opened.append((os.fsdecode(arguments[0]), bool((arguments[2] or 0) & WRITES)))
sys.addaudithook(watch)
import functions.api.handler

files = list(opened)
read = open("/proc/self/io").read().split()[1]
print(json.dumps({"files": files, "read": int(read)}))
"""
MOST_BYTES = 24 * MIB  # Python's and the libraries' modules, and the demo model once hashed and once compiled
MOST_OTHERS = 25  # the model's three, those that say what the process may use, and libraries' own


@cache
def started() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(printed(PROGRAM).splitlines()[-1])
    return result


def test_it_reads_no_more_than_its_code_and_twice_its_model() -> None:
    assert started()["read"] < MOST_BYTES


def test_it_reads_a_card_once_and_a_graph_to_recognize_and_to_hash_it() -> None:
    opened = Counter(
        Path(path).name for path, _ in started()["files"] if Path(path).parent == DEMO_MODEL or path == str(DEMO_MODEL)
    )

    assert opened == {"card.json": 1, "trunk.onnx": 2, "tail.onnx": 2}


def test_it_opens_nothing_for_writing() -> None:
    # Lambda's file system is read-only, and so is that of a careful container.
    assert [path for path, writes in started()["files"] if writes and "__pycache__" not in path] == []


def test_beside_modules_and_its_model_it_opens_few_files() -> None:
    others = {path for path, _ in started()["files"] if not path.endswith((".py", ".pyc", "entry_points.txt"))}

    assert len(others) < MOST_OTHERS, others
