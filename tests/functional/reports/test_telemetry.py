"""No entry point names a host or opens a connection by itself, or writes an id into HOME."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT, SAMPLES

JPEG = SAMPLES / "phantom-03-opacity.jpg"
COMMAND = "from heatlens_cli.main import app; app({!r})"
DEMO = ROOT / "layers" / "heatlens" / "models" / "demo"
ENTRIES = {
    "the package": "import heatlens; heatlens.Explainer.load()",
    "explain": COMMAND.format(["explain", str(JPEG), "--out", "out"]),
    "invoke": COMMAND.format(["dev", "invoke", str(JPEG), "--out", "out"]),
    "event": COMMAND.format(["dev", "event", str(JPEG)]),
    "inspect": COMMAND.format(["inspect", str(DEMO)]),
    "init-model": COMMAND.format(["init-model"]),
    "serve": (
        "import heatlens_cli.serve as serve; "
        "serve.create_app(serve.read_server_settings(), deployment='server').state.heatlens.loaded.card"
    ),
    "the API function": "import functions.api.handler",
    "the batch function": "import functions.batch.handler",
    "the sweeper": "import functions.batch.sweeper",
    "the endpoint": "import functions.endpoint.serve, functions.endpoint.app",
    "the ONNX Runtime engine": (
        "import os; os.environ['HEATLENS_ENGINE'] = 'onnxruntime'; import heatlens; heatlens.Explainer.load()"
    ),
    "the compiler": "import heatlens_torch.compile, heatlens_torch.graph.quantize",
    "the quantizer": "from heatlens_torch.graph.quantize import import_nncf; import_nncf()",
}
# An audit hook sees every thread of the process, and what native code does through Python's own sockets.
WATCH = """
import atexit, json, sys
seen = []
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")
sys.addaudithook(lambda name, given: seen.append([name, str(given)]) if name in NETWORK else None)
atexit.register(lambda: open(sys.argv[1], "w").write(json.dumps(seen)))
"""
STAGING = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "HEATLENS_BUCKET": "bucket",
    "HEATLENS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/queue",
    "HEATLENS_TABLE": "table",
}
IGNORED = (
    "CI",
    "PYTEST",
    "TF_BUILD",
    "JENKINS",
    "GITHUB",
    "NNCF",
    "ORT_",
)  # telemetry is off by itself where these are set


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_point_sends_nothing_and_leaves_home_alone(entry: str, tmp_path: Path) -> None:
    home, seen = tmp_path / "home", tmp_path / "seen.json"
    home.mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(IGNORED)}
    environ |= {"MPLCONFIGDIR": str(tmp_path / "fonts")}  # a cache of fonts
    environ |= {"HOME": str(home), "PYTHONPATH": os.pathsep.join([str(ROOT / "layers"), str(ROOT)])} | STAGING
    if entry in ("invoke", "serve", "the API function", "the endpoint"):
        environ = {name: value for name, value in environ.items() if not name.startswith("HEATLENS_")}

    done = subprocess.run(
        [sys.executable, "-c", WATCH + ENTRIES[entry], seen],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(seen.read_text()) == []
    assert [str(path) for path in home.rglob("*") if path.is_file()] == []
