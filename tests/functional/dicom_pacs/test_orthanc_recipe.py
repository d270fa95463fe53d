"""The recipe of layers/dicom-pacs.md, as it is written there, but for ports and the model."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import requests
from pydantic import BaseModel

from heatlens.settings import DEMO_MODEL
from heatlens_cli.dicom import watch_file
from heatlens_cli.dicom.watch_file import read_watch_file
from tests.support.dicom_studies import radiograph
from tests.support.dicom_tools import parsed, tool
from tests.support.orthanc import eventually, free_ports, installed
from tests.support.paths import HEATLENS, ROOT

PAGE = (ROOT / "layers" / "dicom-pacs.md").read_text()


def blocks(kind: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == kind]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of the recipe, on free ports, with the demo model, and an image."""
    http_port, dicom_port = map(str, free_ports(2))
    [orthanc] = blocks("json")
    (tmp_path / "orthanc.json").write_text(orthanc.replace("8042", http_port).replace("4242", dicom_port))
    rules = blocks("toml")[0].replace("models/chest", str(DEMO_MODEL))
    address = f'[server]\northanc = "http://127.0.0.1:{http_port}"'
    (tmp_path / "pacs.toml").write_text(rules.replace("[server]", address))
    (tmp_path / "scan.dcm").write_bytes(radiograph())
    return tmp_path


def test_the_recipe_puts_results_beside_an_image(folder: Path) -> None:
    installed()
    tool("storescu", "dcmtk")
    commands = [block for block in blocks("") if block.startswith("Orthanc ")]
    [start, watch, store] = commands[0].splitlines()
    settings = json.loads((folder / "orthanc.json").read_text())
    environment = os.environ | {"PATH": os.pathsep.join([str(HEATLENS.parent), os.environ["PATH"], "/usr/sbin"])}
    session, url = requests.Session(), f"http://127.0.0.1:{settings['HttpPort']}"
    session.auth = tuple(*settings["RegisteredUsers"].items())

    def run(line: str) -> subprocess.Popen[bytes]:
        line = line.removesuffix(" &").replace("4242", str(settings["DicomPort"]))
        command = ["bash", "-c", f"exec env {line}"]
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)

    def found() -> list[str]:
        try:
            return [each["ID"] for each in session.get(f"{url}/instances?expand", timeout=10).json()]
        except requests.RequestException:
            return ["starting"]

    processes = [run(start)]
    try:
        eventually(lambda: found() == [], "Orthanc does not start")
        processes.append(run(watch))
        eventually(lambda: " watching " in (folder / "log").read_text(), "the watcher does not start")
        assert run(store).wait(timeout=60) == 0, (folder / "log").read_text()
        eventually(lambda: len(found()) == 4, "no results")

        files = [parsed(session.get(f"{url}/instances/{each}/file", timeout=10).content) for each in found()]
        assert sorted(file.Modality for file in files) == ["CR", "OT", "SEG", "SR"]
        assert {file.StudyInstanceUID for file in files} == {parsed(radiograph()).StudyInstanceUID}
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("block", blocks("toml"))
def test_every_file_of_the_page_is_one(tmp_path: Path, block: str) -> None:
    rule = "" if "[[rule]]" in block else '[[rule]]\nmodel = "model"\n'
    (tmp_path / "pacs.toml").write_text(block + rule)

    assert len(read_watch_file(tmp_path / "pacs.toml").rules) == 1


TABLES: tuple[type[BaseModel], ...] = (watch_file.Server, watch_file.Queue, watch_file.Listen)


def test_every_key_is_on_the_page() -> None:
    tables: list[type[BaseModel]] = [*TABLES, watch_file._RuleTable]
    keys = [key for table in tables for key in table.model_fields]

    assert [key for key in (*keys, *watch_file.OPTIONS) if f"`{key}`" not in PAGE] == []


def test_the_defaults_on_the_page_are_those_of_the_code() -> None:
    defaults: dict[str, object] = {key: field.default for table in TABLES for key, field in table.model_fields.items()}
    shown = {
        key: value for key, value in defaults.items() if isinstance(value, str | int | Path) and value is not False
    }

    assert {"timeout_s", "keep_days", "port", "ae_title"} <= shown.keys()
    assert [key for key, value in shown.items() if not re.search(rf"`{key}` \| `?{value}`? \|", PAGE)] == []
