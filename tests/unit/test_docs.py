"""What the documents say is there, and what is there is documented."""

import re
import tomllib

import pytest

import heatlens
from heatlens.errors import HeatlensError
from heatlens.settings import Settings
from heatlens_aws.settings import AwsSettings
from heatlens_web.errors import status_of
from infra.make_tables import leaves, of_staged_files, written
from tests.support.paths import ROOT

DOORS = (ROOT / "functions" / "README.md").read_text()
DOCUMENTS = [page for folder in (".", "functions", "layers", "infra") for page in (ROOT / folder).glob("*.md")]


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name for page in DOCUMENTS for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }

    assert {"run", "test", "dev", "lint"} <= named
    assert named <= targets


def test_the_tests_and_the_readme_use_the_same_command() -> None:
    assert re.search(r"^make test$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


def test_every_file_that_a_document_links_to_exists() -> None:
    links = [
        page.parent / target for page in DOCUMENTS for target in re.findall(r"\]\(((?!http)[^)#]+)\)", page.read_text())
    ]

    assert links
    assert [str(link) for link in links if not link.exists()] == []


def variables() -> list[str]:
    """The environment variable of every setting."""
    fields = Settings.model_fields | AwsSettings.model_fields
    return [str(field.validation_alias or f"HEATLENS_{name.upper()}") for name, field in fields.items()]


@pytest.mark.parametrize("variable", variables())
def test_every_setting_is_documented(variable: str) -> None:
    assert f"| `{variable}` |" in DOORS


@pytest.mark.parametrize("error", leaves(), ids=lambda error: error.code)
def test_every_error_is_documented_with_its_status(error: type[HeatlensError]) -> None:
    assert f"| `{error.code}` | {status_of(error)} |" in DOORS


def test_every_documented_error_exists() -> None:
    documented = set(re.findall(r"^\| `([a-z0-9_.]+)` \| \d{3} \|", DOORS, re.MULTILINE))

    assert documented == {error.code for error in leaves()}


@pytest.mark.contract("every error")
def test_the_tables_of_errors_are_those_of_the_classes() -> None:
    """`make tables` writes them again."""
    assert written(DOORS) == DOORS
    assert all(f"| `{error.code}` |" in DOORS for error in of_staged_files())
    with pytest.raises(ValueError, match=r"no place for the errors"):
        written(DOORS.replace("<!-- end of errors -->", ""))


@pytest.mark.contract("gateway", "redirected clients", "burnt in")
@pytest.mark.parametrize(
    "words",
    [
        "401, 403, 429, 503, 504 and bodies over Lambda's own limit may come from the gateway instead",
        "A client must not send its `Authorization` header on to S3, which refuses a request that is signed twice",
        "httpx with `follow_redirects=True`, browsers by themselves where the bucket's CORS names the page's origin",
        "text burnt into the pixels stays there",
    ],
)
def test_what_nothing_here_can_change_is_said(words: str) -> None:
    assert words in " ".join(DOORS.split())


def test_the_changelog_knows_this_version() -> None:
    assert f"## {heatlens.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_is_justified() -> None:
    decision = (ROOT / "infra" / "decisions" / "0002-dependencies.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    declared = {re.split(r"[^a-z0-9-]", each)[0] for each in project["dependencies"] + extras} - {"heatlens"}

    assert {"fastapi", "openvino", "torch", "boto3"} <= declared
    assert [name for name in sorted(declared) if f"`{name}`" not in decision] == []
