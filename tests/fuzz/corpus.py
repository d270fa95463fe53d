"""Send every file of a folder to a running server and report how it answers: `python -m tests.fuzz.corpus FOLDER`.

Printed are the counts of statuses with an example each, the slowest files, the highest memory of the server, and the
files whose heatmap has another size than Pillow reads. The exit code is 1 for a 5xx, a closed connection, or another
size.
"""

import argparse
import base64
import io
import json
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
from PIL import Image
from PIL.ExifTags import Base as Exif

from tests.fuzz.__main__ import serving

SLOWEST = 10
ORIENTATION, TURNED = Exif.Orientation, range(5, 9)
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """How the server answered one file; `peak_mib` is the highest resident memory while it did."""

    name: str
    status: int  # 0: the connection was closed
    code: str
    seconds: float
    peak_mib: float
    size: tuple[int, int] | None = None  # of the heatmap
    expected: tuple[int, int] | None = None  # as Pillow reads the file; None where it does not

    @property
    def failed(self) -> bool:
        """Whether the server, and not the file, is at fault."""
        return self.status == 0 or self.status >= 500 or self.has_other_size

    @property
    def has_other_size(self) -> bool:
        return None not in (self.size, self.expected) and self.size != self.expected


def files_of(folder: Path) -> Iterator[Path]:
    """List the files of a folder and its subfolders."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def send(client: httpx2.Client, path: Path, process: int) -> Reply:
    """Send one file as a client does."""
    data = path.read_bytes()
    reset_peak(process)
    started = time.monotonic()
    try:
        response = client.post(
            "/api/inference/heatmap", params={"include": "overlay"}, files={"file": (path.name, data)}
        )
    except httpx2.HTTPError as error:
        return Reply(str(path), 0, type(error).__name__, time.monotonic() - started, peak_mib(process))
    seconds, answer = time.monotonic() - started, read_json(response)
    size = overlay_size(answer) if response.status_code == 200 else None
    code = str(answer.get("code", ""))
    return Reply(str(path), response.status_code, code, seconds, peak_mib(process), size, upright_size(data))


def read_json(response: httpx2.Response) -> dict[str, object]:
    """Read the answer's object; any other answer has no fields."""
    try:
        answer = response.json()
    except json.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def overlay_size(answer: dict[str, object]) -> tuple[int, int]:
    """Decode the heatmap and return its width and height in pixels."""
    with Image.open(io.BytesIO(base64.b64decode(str(answer["heatmap_base64"])))) as image:
        return image.size


def upright_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height as Pillow reads them, exchanged where the EXIF orientation turns the image."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            turned = image.getexif().get(ORIENTATION) in TURNED
            return (image.height, image.width) if turned else image.size
    except Exception:
        return None


def reset_peak(process: int) -> None:
    """Let the kernel measure a process's highest memory anew (Linux, proc(5))."""
    Path(f"/proc/{process}/clear_refs").write_text("5")


def peak_mib(process: int) -> float:
    """Return the highest resident memory of a process since the last reset, in MiB; 0 where it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peaks[0]) / 1024 if peaks else 0.0


def report(replies: Iterable[Reply]) -> list[str]:
    """Describe the answers in lines for a terminal."""
    replies = list(replies)
    kinds = defaultdict(list)
    for reply in replies:
        kinds[reply.status, reply.code].append(reply)
    lines = [f"{len(replies)} files", "", "files  status  code"]
    for (status, code), alike in sorted(kinds.items()):
        lines.append(f"{len(alike):>5}  {status:>6}  {code or '-'}  such as {alike[0].name}")
    lines += ["", "seconds  peak MiB  slowest files"]
    for reply in sorted(replies, key=lambda reply: -reply.seconds)[:SLOWEST]:
        lines.append(f"{reply.seconds:7.2f}  {reply.peak_mib:8.0f}  {reply.name}")
    lines += ["", f"highest memory: {max((reply.peak_mib for reply in replies), default=0):.0f} MiB"]
    compared = [reply for reply in replies if reply.size and reply.expected]
    others = [reply for reply in compared if reply.has_other_size]
    lines += [f"sizes compared with Pillow: {len(compared)}, different: {len(others)}"]
    return lines + [f"  {reply.name}: {reply.size}, Pillow {reply.expected}" for reply in others]


def main() -> int:
    """Send the files, print the report, and return 1 where the server failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if not folder.is_dir():
        parser.error(f"{folder} is not a folder")
    with tempfile.TemporaryDirectory() as logs, serving(Path(logs)) as server:
        with httpx2.Client(base_url=server.address, timeout=TIMEOUT_S) as client:
            replies = [send(client, path, server.process) for path in files_of(folder)]
        if any(reply.failed for reply in replies):
            print((Path(logs) / "server.log").read_text(), file=sys.stderr)
    print("\n".join(report(replies)))
    return int(any(reply.failed for reply in replies))


if __name__ == "__main__":
    sys.exit(main())
