"""Fuzz one target, guided by coverage: `python -m tests.fuzz.coverage TARGET [--seconds 30]`.

Atheris (libFuzzer) changes the seed files, and keeps a change that reaches new code. An exception that the target
does not allow ends the run with exit code 77, and the input is written to the folder (out/fuzz/TARGET), where the next
run begins with it.
"""

import argparse
import importlib
import resource
import shutil
import sys
from pathlib import Path

import atheris

CODE = ["functions", "heatlens", "heatlens_aws", "heatlens_web", "pydicom", "python_multipart", "mangum"]
OUT = Path(__file__).parents[2] / "out" / "fuzz"
MAX_MEMORY_MB = 2000  # beyond the peak at the start, which a process inherits from the one that started it
MAX_SECONDS = 20  # of one input


def main() -> None:
    """Run the fuzzer; it ends the process."""
    with atheris.instrument_imports(include=CODE):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
        importlib.import_module("heatlens.input.dicom")  # loaded at the first DICOM file
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=targets)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--runs", type=int, default=-1, help="inputs, beside the seeds; unlimited by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="for inputs that reach new code, and those that fail")
    chosen = parser.parse_args()
    target, folder = targets[chosen.target], chosen.folder or OUT / chosen.target
    folder.mkdir(parents=True, exist_ok=True)
    for path in target.seeds:
        shutil.copy(path, folder)
    limits = [f"-max_total_time={chosen.seconds}", f"-runs={chosen.runs}", f"-seed={chosen.seed}"]
    most_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + MAX_MEMORY_MB
    limits += [f"-timeout={MAX_SECONDS}", f"-rss_limit_mb={most_mb}", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], *limits, str(folder)], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
