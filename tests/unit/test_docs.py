"""Check that the documents match the code, and that settings, errors and extras are documented."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import heatlens
from heatlens.errors import HeatlensError
from heatlens_aws.settings import AwsSettings
from heatlens_web.problems import status_of
from heatlens_web.settings import ServerSettings
from infra import make_command_options
from infra.contents import add_contents, anchor, long_documents
from infra.make_reference import reference_pages
from infra.make_tables import ERRORS_PAGE, TABLES, replace_table, response_errors, staged_file_errors
from tests.benchmarks import gpu
from tests.benchmarks.service_page import PAGE as SERVICE_PAGE
from tests.benchmarks.service_page import RESULTS, page_lines
from tests.support.paths import ROOT

FOLDERS = (".", "functions", "layers", "infra", "infra/decisions", "tests", "tests/benchmarks", "tests/contract")
DOCUMENTS = [page for folder in FOLDERS for page in (ROOT / folder).glob("*.md")]
LONGEST_LINE = 110  # characters
LONGEST_SENTENCE = 30  # words
GENERATED = {
    "CONFORMANCE.md",
    "ENGINE.md",
    "FAMILIES.md",
    "GPU.md",
    "HUGGING-FACE.md",
    "LOAD.md",
    "METHODS.md",
    "OWNERS.md",
    "PARITY.md",
    "SERVICE.md",
    make_command_options.PAGE.name,
    *(page.name for page in reference_pages()),
}
WRITTEN = [page for page in DOCUMENTS if page.name not in GENERATED]
# A row of tests/README.md: the folder, and its number of test functions.
TEST_COUNTS = re.compile(r"^\| `([a-z/]+)/`[^|]*\| ([0-9,]+) \|", re.MULTILINE)
PACKAGES = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"])
ERRORS = ERRORS_PAGE.read_text()
CONFIGURATION = (ROOT / "functions" / "configuration.md").read_text()
API = (ROOT / "functions" / "api.md").read_text()
FORMATS = (ROOT / "functions" / "formats.md").read_text()
TROUBLESHOOTING = (ROOT / "layers" / "troubleshooting.md").read_text()
SYMPTOMS = re.findall(r"^\| (.+?) \|", TROUBLESHOOTING, re.MULTILINE)


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


def links(page: Path) -> list[tuple[Path, str]]:
    """List the files, each with an anchor or "", that a document links to within the project."""
    targets = re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text())
    parts = [target.partition("#") for target in targets]
    return [(page.parent / path if path else page, anchor) for path, _, anchor in parts]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {anchor(heading) for heading in headings}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert [str(path) for path, _ in links(page) if not path.exists()] == []
    assert [(path.name, anchor) for path, anchor in links(page) if anchor and anchor not in anchors(path)] == []


@pytest.mark.parametrize("page", long_documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_long_document_has_its_contents(page: Path) -> None:
    """`make tables` writes them."""
    assert add_contents(page.read_text()) == page.read_text()


def test_the_documents_have_links_with_anchors() -> None:
    assert any(anchor for page in DOCUMENTS for _, anchor in links(page))


def prose(page: Path) -> list[str]:
    """Return the lines of a document that are neither code, nor a table, nor a picture."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [line for line in text.splitlines() if not line.startswith(("|", "![", "<!--"))]


def sentences(page: Path) -> list[str]:
    """Return the sentences of a document; a colon ends one, and code and the targets of links do not count."""
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`\n]*`", "code", "\n".join(prose(page))))
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=#)", text)
    return [sentence for paragraph in paragraphs for sentence in re.split(r"(?<=[.?!:])\s+", paragraph)]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_has_short_lines_and_sentences(page: Path) -> None:
    assert [line for line in prose(page) if len(line) > LONGEST_LINE] == []
    assert [sentence for sentence in sentences(page) if len(sentence.split()) > LONGEST_SENTENCE] == []


def variables() -> list[str]:
    """The environment variable of every setting."""
    fields = ServerSettings.model_fields | AwsSettings.model_fields
    return [str(field.validation_alias or f"HEATLENS_{name.upper()}") for name, field in fields.items()]


@pytest.mark.parametrize("variable", variables())
def test_every_setting_is_documented(variable: str) -> None:
    assert f"| `{variable}` |" in CONFIGURATION


@pytest.mark.parametrize("error", response_errors(), ids=lambda error: error.code)
def test_every_error_is_documented_with_its_status(error: type[HeatlensError]) -> None:
    assert f"| `{error.code}` | {status_of(error)} |" in ERRORS


def test_every_documented_error_exists() -> None:
    documented = set(re.findall(r"^\| `([a-z0-9_.]+)` \| \d{3} \|", ERRORS, re.MULTILINE))

    assert documented == {error.code for error in response_errors()}


@pytest.mark.contract("every error")
def test_the_generated_tables_are_current() -> None:
    """`make tables` writes them again."""
    for name, (page, table) in TABLES.items():
        assert replace_table(page.read_text(), name, table()) == page.read_text()
    assert all(f"| `{error.code}` |" in ERRORS for error in staged_file_errors())
    with pytest.raises(ValueError, match=r"no place for the errors"):
        replace_table(ERRORS.replace("<!-- end of errors -->", ""), "errors", "")


def test_the_api_reference_is_current() -> None:
    """`make tables` writes it again."""
    pages = reference_pages()

    assert all("```python" in text or "| error |" in text for text in pages.values())
    assert [page.name for page, text in pages.items() if page.read_text() != text] == []


def test_the_page_of_the_service_is_of_its_results() -> None:
    """`make bench` writes both."""
    found = json.loads(RESULTS.read_text())

    assert SERVICE_PAGE.read_text() == "\n".join([*page_lines(found), ""])


def test_the_page_of_the_gpu_is_the_scripts() -> None:
    """`make bench-gpu` writes it again."""
    written, without = gpu.PAGE.read_text().splitlines(), list(gpu.page_lines(gpu.nothing()))

    assert len(written) == len(without)
    if "Machine: no GPU." in written:
        assert written == without, "nothing was measured"
    assert all(f"| {batch} | not measured | not measured |" in "\n".join(without) for batch in gpu.BATCHES)


def test_the_page_of_commands_is_current() -> None:
    """`make tables` writes it again."""
    assert make_command_options.PAGE.read_text() == make_command_options.option_page()


@pytest.mark.contract("gateway", "redirected clients", "burnt in")
@pytest.mark.parametrize(
    ("page", "words"),
    [
        (ERRORS, "401, 403, 429, 503, 504 and bodies over Lambda's own limit may come from the gateway instead"),
        (
            API,
            "A client must not forward its `Authorization` header to S3, which refuses a request that is signed twice",
        ),
        (API, "| httpx | `follow_redirects=True` |"),
        (API, "| browser | nothing to do, if the bucket's CORS configuration names the page's origin |"),
        (FORMATS, "text burnt into the pixels stays there"),
    ],
    ids=["gateway", "authorization", "httpx", "browsers", "burnt in"],
)
def test_limits_outside_this_project_are_documented(page: str, words: str) -> None:
    assert words in " ".join(page.split())


def strings_of_the_code() -> Iterator[str]:
    """Yield every literal text of the packages; a text with values in it comes in parts."""
    for source in (ROOT / "layers").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_messages_to_look_up_are_those_of_the_code() -> None:
    """A message of Python itself may be listed too."""
    quoted = [text for cell in SYMPTOMS for text in re.findall(r"`([^`]+)`", cell) if " " in text]
    parts = {part.strip() for text in quoted for part in text.split("…") if part.strip()}

    code = "\n".join([*strings_of_the_code(), "No module named"])
    assert len(parts) > 10
    assert [part for part in sorted(parts) if part not in code] == []


def test_the_codes_to_look_up_exist() -> None:
    groups = "input|limit|quota|server|model|request|deadline"
    codes = set(re.findall(rf"`((?:{groups})(?:\.[a-z0-9_]+)?)`", "\n".join(SYMPTOMS)))

    assert {"limit.passes", "server.busy"} <= codes
    assert codes <= {error.code for error in response_errors()}


def functions_of_tests(folder: Path) -> int:
    """Count the test functions of a folder; a parametrized one counts once."""
    sources = (path.read_text(encoding="utf-8") for path in folder.rglob("test_*.py"))
    return sum(len(re.findall(r"^ *(?:async )?def test_", source, re.MULTILINE)) for source in sources)


def test_the_numbers_of_tests_are_about_right() -> None:
    page = (ROOT / "tests" / "README.md").read_text()
    stated = {name: int(count.replace(",", "")) for name, count in TEST_COUNTS.findall(page)}

    assert {"unit", "functional", "contract", "functional/api"} <= set(stated)
    counted = {name: functions_of_tests(ROOT / "tests" / name) for name in stated}
    assert {name: count for name, count in stated.items() if not 0.8 < count / counted[name] < 1.25} == {}, counted


def test_the_changelog_names_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    version = re.escape(heatlens.__version__)

    assert re.search(rf"^## \[{version}\]|^The next release is {version}\.", changelog, re.MULTILINE)
    assert re.search(r"^## \[Unreleased\]$", changelog, re.MULTILINE)


def imported_packages(package: str) -> set[str]:
    """Return the packages of this project that a package's sources import."""
    folder = ROOT / package if package == "functions" else ROOT / "layers" / package
    imports = re.compile(r"^\s*(?:from|import) (\w+)", re.MULTILINE)
    names = {name for source in folder.rglob("*.py") for name in imports.findall(source.read_text())}
    return names & PACKAGES - {package}


def test_the_diagram_shows_the_imports_of_the_packages() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    diagram = re.findall(r"^    (\w+) -(?:->|\. .+ \.->) (\w+)$", page, re.MULTILINE)

    imports = [(package, other) for package in PACKAGES for other in imported_packages(package)]
    assert sorted(diagram) == sorted(imports)


def test_every_extra_is_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    readme = (ROOT / "README.md").read_text()

    assert [extra for extra in project["optional-dependencies"] if f"| `{extra}` |" not in readme] == []


def test_every_dependency_is_justified() -> None:
    decision = (ROOT / "infra" / "decisions" / "0002-dependencies.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    declared = {re.split(r"[^a-z0-9-]", each)[0] for each in project["dependencies"] + extras} - {"heatlens"}

    assert {"fastapi", "openvino", "torch", "boto3"} <= declared
    assert [name for name in sorted(declared) if f"`{name}`" not in decision] == []
