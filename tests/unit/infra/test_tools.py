"""Tools are pinned, installed once in their own environment, and refused if unknown."""

import re
import sys
from pathlib import Path

import pytest

from infra import tools
from infra.environments import install


@pytest.mark.parametrize("name", tools.PACKAGES)
def test_every_tool_is_pinned(name: str) -> None:
    pins = (tools.ROOT / "infra" / f"{name}-constraints.txt").read_text()

    assert re.search(rf"^{re.escape(tools.PACKAGES[name])}==\d", pins, re.MULTILINE)
    assert [line for line in pins.splitlines() if not re.match(r"#|[\w.-]+==[\w.+-]+$", line)] == []


def test_an_unknown_tool_is_refused_by_name() -> None:
    with pytest.raises(SystemExit, match="no such tool: make"):
        tools.main(["make"])


def test_an_environment_is_installed_once_for_its_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[list[str]] = []

    def run(command: list[str], **_: object) -> None:
        installed.append(command)

    monkeypatch.setattr("infra.environments.subprocess.run", run)
    monkeypatch.setattr("infra.environments.venv.create", lambda folder, **_: folder.mkdir(exist_ok=True))
    pins = tmp_path / "pins.txt"
    for text in ("a==1\n", "a==1\n", "a==2\n"):
        pins.write_text(text)
        python = install(tmp_path / "venv", pins, ["a"])

    assert python == tmp_path / "venv" / "bin" / "python"
    assert [command[-3:] for command in installed] == [["-c", str(pins), "a"]] * 2


def test_a_failed_installation_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.environments.venv.create", lambda folder, **_: folder.mkdir(exist_ok=True))

    def fail(*_: object, **__: object) -> None:
        sys.exit(1)

    monkeypatch.setattr("infra.environments.subprocess.run", fail)
    pins = tmp_path / "pins.txt"
    pins.write_text("a==1\n")
    for _ in range(2):
        with pytest.raises(SystemExit):
            install(tmp_path / "venv", pins, ["a"])
