"""Install packages that conflict with the project's own in a separate virtual environment, once for its pins."""

import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path


def install(folder: Path, constraints: Path, packages: Sequence[str]) -> Path:
    """Create the environment unless it already holds these pins.

    Returns:
        The path of its Python.
    """
    python, ready, pins = folder / "bin" / "python", folder / ".ready", constraints.read_text(encoding="utf-8")
    if ready.exists() and ready.read_text(encoding="utf-8") == pins:
        return python
    print(f"installing {packages[0]} in {folder}", flush=True)
    venv.create(folder, clear=True, with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "-c", str(constraints), *packages], check=True)  # noqa: S603 - fixed words
    ready.write_text(pins, encoding="utf-8")
    return python
