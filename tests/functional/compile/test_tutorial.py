"""Run the files, commands and programs of layers/tutorial.md, as they are printed, up to the drop folder."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.loop import heatmaps, running_loop
from tests.support.paths import ROOT

PAGE = (ROOT / "layers" / "tutorial.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


SCANS, TRAIN, COMPILE, EXPLAIN, SERVE, REQUEST, ACCOUNT, SEND, VERIFY, DROP = blocks("sh")
PROGRAM = next(text for text in blocks("python") if not text.startswith("# "))
[DESCRIPTION] = blocks("toml")
FILES = {text.split()[1]: text for text in blocks("python") if text.startswith("# ")} | {"model.toml": DESCRIPTION}


def placed(text: str, out: Path) -> str:
    """Return a text with files below `out/` in another folder."""
    return text.replace("out/model", f"{out}/model").replace("out/tutorial", f"{out}/tutorial")


def shell(text: str, out: Path) -> str:
    """Run commands in the checkout, with this environment's programs."""
    environment = os.environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "layers"), str(ROOT)]),
    }
    done = subprocess.run(
        ["sh", "-euc", placed(text, out)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `out/` after step 3: the checkpoint, the scans and the compiled model."""
    folder = tmp_path_factory.mktemp("out")
    tutorial = folder / "tutorial"
    tutorial.mkdir()
    for name, text in FILES.items():
        (tutorial / name).write_text(placed(text, folder))
    shell(SCANS + TRAIN, folder)
    (folder / "printed.txt").write_text(shell(COMPILE, folder))
    return folder


def test_the_model_is_compiled_with_the_lines_to_look_for(out: Path) -> None:
    printed = (out / "printed.txt").read_text()

    for word in ("proven", "reference", "sanity", "calibration", "familiarity"):
        assert re.search(rf"^{word}\b", printed, re.MULTILINE), word
    assert (out / "model" / "card.json").is_file()


def test_a_folder_is_explained(out: Path) -> None:
    shell(EXPLAIN, out)

    assert heatmaps(out / "tutorial" / "heatmaps") == [
        f"{path.name}.heatmap.png" for path in sorted((out / "tutorial" / "scans").iterdir())
    ]


def test_python_explains_two_classes(out: Path) -> None:
    (out / "program.py").write_text(placed(PROGRAM, out))

    printed = shell(f"python {out}/program.py", out)

    assert re.fullmatch(r"((NORMAL|EFFUSION|PNEUMONIA) 0\.\d\d (ok|weak|empty)\n){2}", printed)
    assert (out / "tutorial" / "overlay.png").read_bytes().startswith(b"\x89PNG")


@contextmanager
def serving(out: Path) -> Iterator[str]:
    """Run the command of step 5 on a free port; yield its address."""
    setting, program, *words = placed(SERVE, out).replace("8000", "0").split()
    name, value = setting.split("=")
    server = subprocess.Popen(
        [BIN / program, *words], cwd=ROOT, env=os.environ | {name: value}, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        yield re.findall(r"http://127.0.0.1:\d+", server.stdout.readline())[0]
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


def test_the_server_answers_with_this_model(out: Path) -> None:
    with serving(out) as url:
        shell(REQUEST.replace("http://127.0.0.1:8000", url), out)
        models = shell(f"curl --silent --fail {url}/api/inference/models", out)

    assert (out / "tutorial" / "served.png").read_bytes().startswith(b"\x89PNG")
    assert '"PNEUMONIA"' in models


def test_a_batch_is_run_verified_and_an_object_dropped(out: Path) -> None:
    setting, *words = placed(ACCOUNT, out).split()
    assert words == ["python", "infra/local_batches.py"]
    name, value = setting.split("=")
    with running_loop(**{name: value}) as account:
        script = SEND.replace("http://127.0.0.1:8001", account.url).replace("http://127.0.0.1:8002", account.storage)
        printed = shell(script + VERIFY + DROP, out)
        # Step 9 on this account, whose server needs no signature.
        ward = out / "tutorial" / "ward.py"
        ward.write_text(ward.read_text().replace(', auth="iam"', ""))
        sent = shell(f"export API_URL={account.url}\npython {ward}", out)

    assert len(heatmaps(out / "tutorial" / "batch")) == len(list((out / "tutorial" / "scans").iterdir()))
    assert re.search(r"^out/drop/ward-3%2Fphantom-05-opacity-wide.png/.*/overlay\.png$", printed, re.MULTILINE)
    assert (out / "tutorial" / "dropped.png").read_bytes().startswith(b"\x89PNG")
    assert sent.count(" OK\n") == len(heatmaps(out / "tutorial" / "ward")) == 4
