"""Run Orthanc with its DICOMweb plugin on free ports; where it is not installed a test is skipped with the reason."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from dicomweb_client.web import DICOMwebClient

from tests.support.dicom_tools import parsed, tool

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "heatlens", "a-secret-of-tests"
_WAIT_S = 60.0


def eventually(holds: Callable[[], object], why: str, *, within_s: float = _WAIT_S) -> None:
    """Wait until something holds."""
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until, why
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Find free ports, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def installed() -> str:
    """Return the path of Orthanc, or skip the test."""
    found = shutil.which("Orthanc", path=os.environ["PATH"] + os.pathsep + "/usr/sbin")
    if found is None:
        pytest.skip("there is no Orthanc: apt-get install orthanc")
    if not PLUGIN.exists():
        pytest.skip("Orthanc has no DICOMweb: apt-get install orthanc-dicomweb")
    return found


def configuration(folder: Path, http_port: int, dicom_port: int) -> dict[str, Any]:
    """Describe an Orthanc on loopback whose data lie in a folder."""
    return {
        "Name": "Heatlens test",
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }


class Orthanc:
    """An Orthanc that can be killed and started again with its data."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._program, self._folder = installed(), folder
        self._file = folder / "orthanc.json"
        self._file.write_text(json.dumps(settings))
        self.url, self.dicom_port = f"http://127.0.0.1:{settings['HttpPort']}", settings["DicomPort"]
        self.session = requests.Session()
        self.session.auth = (USER, PASSWORD)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self._folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, self._file], cwd=self._folder, stdout=log, stderr=subprocess.STDOUT
            )
        eventually(self._answers, f"Orthanc does not start: {(self._folder / 'orthanc.log').read_text()[-2000:]}")

    def kill(self) -> None:
        """End it by SIGKILL, as a failure of power or memory would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def get(self, place: str, **headers: str) -> requests.Response:
        """Read a resource of the REST API."""
        answer = self.session.get(f"{self.url}/{place}", headers=headers, timeout=_WAIT_S)
        answer.raise_for_status()
        return answer

    def stow(self, *files: bytes) -> None:
        """Store files by STOW-RS."""
        DICOMwebClient(f"{self.url}/dicom-web", session=self.session).store_instances(list(map(parsed, files)))

    def send(self, file: bytes, title: str = "STORESCU") -> None:
        """Store a file by C-STORE, as a modality does."""
        path = self._folder / "sent.dcm"
        path.write_bytes(file)
        send(path, self.dicom_port, title)

    def count(self) -> int:
        """Count all instances."""
        return int(self.get("statistics").json()["CountInstances"])

    def instances(self) -> dict[str, str]:
        """Map each SOP instance UID to Orthanc's identifier of it."""
        found = self.get("instances?expand").json()
        return {each["MainDicomTags"]["SOPInstanceUID"]: each["ID"] for each in found}

    def file(self, identifier: str) -> bytes:
        """Read an instance."""
        return self.get(f"instances/{identifier}/file").content

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "orthanc.log").read_text()[-2000:]
        try:
            return bool(self.get("system"))
        except requests.RequestException:
            return False


def send(path: Path, port: int, title: str = "STORESCU") -> None:
    """Send a file by `storescu`, that of dcmtk or that of pynetdicom."""
    command = [tool("storescu", "dcmtk"), "-aet", title, "-aec", "ANY", "127.0.0.1", str(port), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_WAIT_S)
    assert done.returncode == 0, done.stderr


@contextmanager
def running_orthanc(folder: Path, **settings: object) -> Iterator[Orthanc]:
    """Run an empty Orthanc for the duration of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    http_port, dicom_port = free_ports(2)
    orthanc = Orthanc(folder, configuration(folder, http_port, dicom_port) | settings)
    orthanc.start()
    try:
        yield orthanc
    finally:
        orthanc.kill()
