"""`make bench-start`: break down how long each entry point takes from the start of its process to its first answer.

Three tables: whole starts beside the plain service's, the steps of the API function, and the imports by library. Starts
alternate, and a first round of all is thrown away: it writes the modules' bytecode, which an image has.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from heatlens.engines.peak_memory import peak_mib
from heatlens_cli.measure import sample_image
from tests.benchmarks.sides import MODULES, processor_name, processor_seconds, set_up, versions, write_event
from tests.support.paths import ROOT

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "start.json", HERE / "START.md"
# What a first answer imports, without what loading does.
IMPORTS = {
    "API function": "heatlens_web.lambda_handler, heatlens_web.app, heatlens.engines.openvino",
    "batch function": "functions.batch.worker, functions.batch.errors, heatlens.engines.openvino",
    "endpoint": "functions.endpoint.app, heatlens_web.http_server, heatlens.engines.openvino",
    "heatlens explain": "heatlens_cli.main, heatlens_cli.explain_files, heatlens.engines.openvino",
    "plain service": "fastapi, mangum, torch, torchvision, pytorch_grad_cam, matplotlib, PIL.Image, multipart",
}
ACCOUNT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "HEATLENS_BUCKET": "bucket",
    "HEATLENS_TABLE": "table",
    "HEATLENS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/queue",
}
SHOWN = 12  # libraries
LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
Environ = dict[str, str]
Sample = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure; write the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / "out" / "bench", help="where the compiled model is kept")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with set_up("resnet50", options.home.resolve()) as setup:
        event = write_event(setup, [sample_image()])
        found = measure(setup.environ | {"BENCH_EVENT": str(event)}, options.rounds)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text("\n".join([*page_lines(found), ""]), encoding="utf-8")


def measure(environ: Environ, rounds: int) -> dict[str, Any]:
    """Return everything that the page shows, with the raw samples."""
    whole: dict[str, list[Sample]] = defaultdict(list)
    steps: list[dict[str, tuple[float, float]]] = []
    for turn in range(rounds + 1):
        for name, start in STARTS.items():
            sample = start(environ)
            if turn:
                whole[name].append(sample)
                print(name, {key: round(value, 2) for key, value in sample.items()}, flush=True)
        taken = run([str(HERE / "start_child.py"), environ["BENCH_EVENT"]], environ).stdout
        if turn:
            steps.append(json.loads(taken.splitlines()[-1]))
    imports = {name: import_times(program, environ, max(1, rounds // 2)) for name, program in IMPORTS.items()}
    return {
        "machine": f"{processor_name()}, {len(os.sched_getaffinity(0))} processors",
        "versions": versions(),
        "load": os.getloadavg()[1],
        "whole": whole,
        "steps": steps,
        "imports": imports,
    }


def start_handler(side: str, environ: Environ) -> Sample:
    """Start a Lambda handler and wait for its first answer."""
    command = [str(HERE / "service_child.py"), MODULES[side], environ["BENCH_EVENT"]]
    with child(command, environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as (process, sample):
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "200\n"
        sample.answered()
        process.stdin.close()
    return sample.values


def start_batch(environ: Environ) -> Sample:
    """Start the batch function, until it is ready for an event: its answers need an account."""
    program = "import functions.batch.handler; print('ready', flush=True)"
    with child(["-c", program], environ | ACCOUNT, stdout=subprocess.PIPE) as (process, sample):
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        sample.answered()
    return sample.values


def start_endpoint(environ: Environ) -> Sample:
    """Start the SageMaker endpoint, and send an image as soon as it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"SAGEMAKER_BIND_TO_PORT": str(port), "HEATLENS_PORT": str(port)}
    with child(["-m", "functions.endpoint.serve"], environ | variables) as (process, sample):
        while process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError), contextlib.closing(_connect(port)) as connection:
                connection.request(
                    "POST", "/invocations", sample_image().read_bytes(), {"content-type": "application/octet-stream"}
                )
                assert connection.getresponse().status == 200
                break
            time.sleep(0.002)
        sample.answered()
        process.terminate()
    return sample.values


def start_explain(environ: Environ) -> Sample:
    """Run `heatlens explain` on one image."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "heatlens_cli", "explain", str(sample_image()), "--out", folder]
        with child(words, environ, stdout=subprocess.DEVNULL) as (process, sample):
            while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                time.sleep(0.002)
            sample.answered()
    return sample.values


STARTS: dict[str, Callable[[Environ], Sample]] = {
    "API function": lambda environ: start_handler("heatlens", environ),
    "plain service": lambda environ: start_handler("plain", environ),
    "batch function": start_batch,
    "endpoint": start_endpoint,
    "heatlens explain": start_explain,
}


class Clock:
    """Takes one start's figures."""

    def __init__(self, pid: int) -> None:
        """Begin."""
        self._pid, self._began, self.values = pid, time.perf_counter(), dict[str, float]()

    def answered(self) -> None:
        """Note the seconds until now, and the processors' and the peak memory so far."""
        self.values["seconds"] = time.perf_counter() - self._began
        self.values["processor_seconds"] = processor_seconds(self._pid)
        with contextlib.suppress(IndexError):  # a process that has ended has none
            self.values["peak_mb"] = peak_mib(self._pid)


@contextlib.contextmanager
def child(command: Sequence[str], environ: Environ, **streams: Any) -> "Iterator[tuple[subprocess.Popen[str], Clock]]":  # noqa: ANN401 - of Popen
    """Start Python, and wait for its end after the block."""
    process = subprocess.Popen(
        [sys.executable, *command], env=environ, cwd=ROOT, text=True, stderr=subprocess.DEVNULL, **streams
    )
    with process:
        yield process, Clock(process.pid)


def run(words: Sequence[str], environ: Environ) -> "subprocess.CompletedProcess[str]":
    """Run Python and return what it wrote."""
    return subprocess.run([sys.executable, *words], env=environ, cwd=ROOT, capture_output=True, text=True, check=True)


def import_times(program: str, environ: Environ, rounds: int) -> dict[str, dict[str, float]]:
    """Return the modules of each library, and their own milliseconds in the fastest of the rounds."""
    fastest: dict[str, float] = {}
    for _ in range(rounds):
        for line in run(["-X", "importtime", "-c", f"import {program}"], environ).stderr.splitlines():
            if match := LINE.match(line):
                name, own = match[2], int(match[1]) / 1000
                fastest[name] = min(own, fastest.get(name, own))
    milliseconds, modules = Counter[str](), Counter[str]()
    for name, own in fastest.items():
        library = _library(name)
        milliseconds[library] += own  # type: ignore[assignment]  # a Counter may hold floats
        modules[library] += 1
    return {name: {"ms": ms, "modules": modules[name]} for name, ms in milliseconds.most_common()}


def page_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# From the start of a process to its first answer"
    yield ""
    yield "Written by `make bench-start`; do not edit. The model is ResNet-50 at 224 x 224 in float32, the image a JPEG"
    yield "of 1024 x 1024 pixels, answered with overlay and original. Medians; [start.json](start.json) has samples."
    yield ""
    tools = ", ".join(f"{tool} {release}" for tool, release in found["versions"].items())
    yield from textwrap.wrap(f"{found['machine']}; {tools}.", width=100)
    yield ""
    yield "## Whole starts"
    yield ""
    yield "The batch function's ends when it is ready for an event, without an account to answer to. The load average"
    yield f"was {found['load']:.1f}. Where that is more than the processors, a start mostly waits for one, and only"
    yield "the seconds of processors compare."
    yield ""
    yield "| | first answer | against the plain service | of processors | against the plain service | peak memory |"
    yield "|---|---|---|---|---|---|"
    whole = {name: _medians(samples) for name, samples in found["whole"].items()}
    for name, values in whole.items():
        ratio, less = (whole["plain service"][key] / values[key] for key in ("seconds", "processor_seconds"))
        peak = f"{values['peak_mb']:,.0f} MB" if "peak_mb" in values else ""
        seconds, busy = values["seconds"], values["processor_seconds"]
        yield f"| {name} | {seconds:.2f} s | {ratio:.1f}x | {busy:.2f} s | {less:.1f}x | {peak} |"
    yield ""
    yield "## Steps of the API function"
    yield ""
    yield "One after the other here. In the function a thread loads the model (the steps in italics) while the web"
    yield "application is imported."
    yield ""
    yield "| | ms | ms of processors |"
    yield "|---|---|---|"
    for step in found["steps"][0]:
        wall, busy = (statistics.median(sample[step][place] for sample in found["steps"]) for place in (0, 1))
        shown = f"*{step}*" if step in THREAD else step
        yield f"| {shown} | {wall:.0f} | {busy:.0f} |" if wall else f"| {shown} | | {busy:.0f} |"
    yield ""
    yield "## Imports"
    yield ""
    yield "Milliseconds by library, each module's own, the fastest of all rounds (`python -X importtime`), and modules."
    yield ""
    names = list(IMPORTS)
    yield "| | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(names)
    imports = found["imports"]
    most = Counter[str]()
    for name in names[:-1]:
        for library, values in imports[name].items():
            most[library] = max(most[library], values["ms"])
    shown_libraries = [library for library, _ in most.most_common(SHOWN)]
    for library in shown_libraries:
        yield f"| {library} | " + " | ".join(_cell(imports[name].get(library)) for name in names) + " |"
    for title, chosen in (("others", False), ("all", True)):
        cells = (
            _cell(_sum(value for library, value in imports[name].items() if chosen or library not in shown_libraries))
            for name in names
        )
        yield f"| {title} | " + " | ".join(cells) + " |"


THREAD = ("read and hash the model", "compile the graphs", "golden explanation, the first inference")


def _medians(samples: Sequence[Sample]) -> Sample:
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


def _sum(values: Iterator[dict[str, float]]) -> dict[str, float]:
    taken = list(values)
    return {key: sum(value[key] for value in taken) for key in ("ms", "modules")}


def _cell(value: dict[str, float] | None) -> str:
    return f"{value['ms']:.0f} ({value['modules']:.0f})" if value else ""


def _library(module: str) -> str:
    name = module.partition(".")[0]
    return "Python's own" if name in sys.stdlib_module_names else name


def _connect(port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    return connection


if __name__ == "__main__":
    main()
