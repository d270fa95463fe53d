"""A missing extra is named; any other missing module stays the error it is."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from heatlens_cli.extras import EXTRA_MODULES, MissingExtra, requires_extra
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = {"server": "heatlens_web", "aws": "heatlens_aws", "torch": "heatlens_torch"}
# What the compiler names itself: of the extras int8, hf and timm, and the libraries whose files it reads.
CHECKED_WITHIN = {"nncf", "onnxruntime", "transformers", "timm", "monai", "torchxrayvision"}
WITH_THE_BASE = {"pydantic_core", "h11"}  # what pydantic and httpx2 cannot be without


def normalized(name: str) -> str:
    return name.lower().replace("_", "-")


def modules_of(requirements: list[str]) -> set[str]:
    """The top-level modules that the distributions of these requirements install."""
    wanted = {normalized(requirement.partition(">")[0]) for requirement in requirements}
    return {module for module, names in packages_distributions().items() if wanted & set(map(normalized, names))}


def imported(package: str) -> set[str]:
    """The top-level modules that a package imports, anywhere in it."""
    names: set[str] = set()
    for source in (ROOT / "layers" / package).rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names


def test_names_the_extra_to_install() -> None:
    with pytest.raises(MissingExtra) as caught, requires_extra("server", "serve"):
        raise ModuleNotFoundError("No module named 'uvicorn.config'", name="uvicorn.config")

    assert str(caught.value) == "serve needs the extra server (uvicorn is missing): pip install 'heatlens[server]'"


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'heatlens_web.gone'", name="heatlens_web.gone"),
        ModuleNotFoundError("No module named 'torch'", name="torch"),
        ImportError("cannot import name 'gone' from 'fastapi'", name="fastapi"),
    ],
    ids=["own module", "module of another extra", "name that a module lacks"],
)
def test_hides_no_other_import_error(error: ImportError) -> None:
    with pytest.raises(type(error)) as caught, requires_extra("server", "serve"):
        raise error

    assert caught.value is error


@pytest.mark.parametrize("extra", EXTRA_MODULES)
def test_knows_only_modules_that_the_extra_installs(extra: str) -> None:
    installed = modules_of(PROJECT["optional-dependencies"][extra])
    installed |= {"botocore"} if extra == "aws" else set()  # boto3 is a part of it

    assert EXTRA_MODULES[extra] <= installed


@pytest.mark.parametrize("extra", PACKAGES)
def test_knows_every_module_beyond_the_base_that_its_package_imports(extra: str) -> None:
    base = modules_of(PROJECT["dependencies"]) | WITH_THE_BASE | set(sys.stdlib_module_names) | CHECKED_WITHIN
    others = {name for name in imported(PACKAGES[extra]) - base if not name.startswith("heatlens")}

    assert others - {name for names in EXTRA_MODULES.values() for name in names} == set()
    assert others & EXTRA_MODULES[extra]
