"""The contracts in pyproject.toml find an import that goes the wrong way."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LINT = Path(sys.executable).parent / "lint-imports"
# A module, what it must not import, and the contracts that say so, by id.
PLANTED = [
    ("layers/heatlens/types.py", "heatlens.results", {"core", "acyclic"}),
    ("layers/heatlens/types.py", "heatlens.evaluate.regions", {"core", "acyclic"}),
    ("layers/heatlens/types.py", "heatlens.evaluate.faithfulness", {"core", "acyclic"}),
    ("layers/heatlens/input/dicom/frame.py", "heatlens.input.decode", {"acyclic"}),
    ("layers/heatlens/pipeline.py", "heatlens_aws.staging", {"packages"}),
    ("layers/heatlens/pipeline.py", "torch", {"training-libraries"}),
    ("layers/heatlens/pipeline.py", "boto3", {"core-libraries"}),
    ("layers/heatlens/pipeline.py", "fastapi", {"core-libraries"}),
    ("layers/heatlens/client/connection.py", "boto3", {"core-libraries"}),
    ("layers/heatlens/explainer.py", "heatlens.client.errors", {"core"}),
    ("layers/heatlens/registry.py", "onnxruntime", {"onnx-runtime"}),
    ("layers/heatlens/model.py", "heatlens.engines.onnx_runtime", {"onnx-runtime-engine"}),
    ("layers/heatlens_torch/compile.py", "heatlens_aws.staging", {"packages"}),
    ("layers/heatlens_torch/compile.py", "boto3", {"compiler-libraries"}),
    ("layers/heatlens_aws/staging.py", "heatlens_web.app", {"packages"}),
    ("layers/heatlens_aws/staging.py", "fastapi", {"aws-libraries"}),
    ("layers/heatlens_aws/staging.py", "scipy", {"training-libraries"}),
    ("layers/heatlens_web/app.py", "heatlens_torch.engine", {"web-libraries"}),
    ("layers/heatlens_web/app.py", "botocore", {"web-libraries"}),
    ("layers/heatlens_web/app.py", "functions.api.handler", {"packages"}),
    ("layers/heatlens_cli/serve.py", "functions.endpoint.serve", {"packages"}),
    ("functions/api/handler.py", "heatlens_cli.main", {"packages"}),
    ("functions/endpoint/serve.py", "heatlens_aws.staging", {"endpoint"}),
    ("functions/batch/handler.py", "heatlens_web.app", {"batch-schemas"}),
    ("layers/heatlens_web/schemas/problem.py", "fastapi", {"schemas"}),
    ("functions/batch/handler.py", "fastapi", {"batch-schemas"}),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all sources and of the contracts, for which each broken one is shown by its id."""
    folder = tmp_path_factory.mktemp("tree")
    for package in ("functions", "layers"):
        shutil.copytree(ROOT / package, folder / package, ignore=_all_but_python)
    contracts = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(re.sub(r'(?m)^(id = "(.+)"\nname) = ".*"', r'\1 = "\2"', contracts))
    return folder


def _all_but_python(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (name.endswith(".py") or (Path(folder) / name).is_dir())]


def broken(tree: Path) -> set[str]:
    """The ids of the contracts that the tree breaks."""
    environment = os.environ | {"PYTHONPATH": f"{tree / 'layers'}:{tree}", "COLUMNS": "200"}
    done = subprocess.run(
        [LINT, "--no-cache", "--no-logo"], cwd=tree, env=environment, capture_output=True, check=False, text=True
    )
    found = set(re.findall(r"(?m)^(\S+) BROKEN", done.stdout))
    assert done.returncode == bool(found), done.stdout + done.stderr
    return found


def test_the_sources_keep_every_contract(tree: Path) -> None:
    assert broken(tree) == set()


@pytest.mark.parametrize(("module", "imported", "contracts"), PLANTED)
def test_an_import_within_a_function_breaks_its_contract(
    tree: Path, module: str, imported: str, contracts: set[str]
) -> None:
    source = tree / module
    before = source.read_text(encoding="utf-8")
    source.write_text(
        f"{before}\n\ndef planted() -> None:\n    if True:\n        import {imported}\n", encoding="utf-8"
    )

    try:
        assert broken(tree) == contracts
    finally:
        source.write_text(before, encoding="utf-8")
