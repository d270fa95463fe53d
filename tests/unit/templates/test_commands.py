"""The AWS commands of the documents: services, operations, options and queries exist, and what they need is given."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import boto3
import jmespath  # type: ignore[import-untyped]
import pytest
from botocore import xform_name

from tests.support.paths import ROOT
from tests.support.stack import TEMPLATE, TEMPLATES, read

PAGES = [page for folder in ("infra", "functions", "layers", ".") for page in sorted((ROOT / folder).glob("*.md"))]
RUNBOOKS = (ROOT / "infra" / "runbooks.md").read_text()
RENAMED = {"deploy": "codedeploy", "s3api": "s3"}  # services that the command line names differently
COMPOSED = {
    ("cloudformation", "deploy"),
    ("s3", "cp"),
    ("s3", "ls"),
    ("configure", "export-credentials"),
}  # operations that only the command line has
GLOBAL = {"query", "output", "region", "max-items"}


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each `aws` command of a page: of a whole line, or of one within `$(…)`."""
    for block in re.findall(r"(?ms)^```(?:sh|console)\n(.*?)^```$", page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.search(r"(\$\()?\baws [a-z0-9-]+ [a-z0-9-]+", line):
                text = line[found.start() :]
                text = text.removeprefix("$(").rpartition(")")[0] if found[1] else text
                yield list(takewhile(lambda word: word not in ("|", "&&", ">", "#"), shlex.split(text)))[1:]


FOUND = [(page.name, words) for page in PAGES for words in commands(page)]
DESCRIBED = [(page, words) for page, words in FOUND if tuple(words[:2]) not in COMPOSED and words[1] != "wait"]


def options(words: list[str]) -> dict[str, str]:
    """Return the options of a command with their first value."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return {name[2:]: value for name, value in pairs if name.startswith("--")}


def test_the_documents_have_commands_of_aws() -> None:
    assert len(DESCRIBED) > 25
    assert {page for page, _ in DESCRIBED} >= {"runbooks.md", "network.md", "README.md", "operations.md", "tutorial.md"}


@pytest.mark.parametrize(("page", "words"), DESCRIBED, ids=[" ".join(words[:2]) for _, words in DESCRIBED])
def test_an_aws_command_has_options_that_exist_and_those_that_it_needs(page: str, words: list[str]) -> None:
    service, operation, *rest = words
    model = boto3.client(RENAMED.get(service, service), region_name="us-east-1").meta.service_model
    [name] = [each for each in model.operation_names if xform_name(each, "-") == operation]
    shape = model.operation_model(name).input_shape
    known = {xform_name(each, "-") for each in shape.members} if shape else set()
    given = set(options(rest)) - GLOBAL
    given = {each.removeprefix("no-") if each.startswith("no-") and each not in known else each for each in given}

    assert given <= known, page
    assert {xform_name(each, "-") for each in (shape.required_members if shape else [])} <= given, page


@pytest.mark.parametrize("words", [words for _, words in FOUND if "--query" in words], ids=lambda words: words[1])
def test_the_query_of_a_command_is_one(words: list[str]) -> None:
    jmespath.compile(options(words)["query"])


@pytest.mark.parametrize("words", [words for _, words in FOUND if words[1] == "wait"], ids=lambda words: words[2])
def test_a_waiter_exists(words: list[str]) -> None:
    assert words[2].replace("-", "_") in boto3.client(words[0], region_name="us-east-1").waiter_names


def test_every_placeholder_of_a_runbook_is_explained() -> None:
    """Words in capitals stand for names; the page says where to find each."""
    code = "\n".join(re.findall(r"(?ms)^```(?:sh)?\n(.*?)^```$", RUNBOOKS))
    used = set(re.findall(r"(?<![\w$-])[A-Z][A-Z_]{2,}(?![\w=])", re.sub(r'"[^"]*"', "", code)))
    first = re.findall(r"^\| ((?:`[A-Z_]+`(?:, )?)+) \|", RUNBOOKS, re.MULTILINE)
    explained = {name for cell in first for name in re.findall(r"[A-Z_]+", cell)}
    words = {
        "AWS",
        "CAPABILITY_IAM",
        "CAPABILITY_AUTO_EXPAND",
        "COUNT",
        "DIMENSION",
        "ERROR",
        "INIT_REPORT",
        "MONTHLY",
        "RUNNING",
        "SERVICE",
    }

    assert used - words <= explained
    assert len(explained) > 8


def resources() -> set[str]:
    return {name for path in TEMPLATES for name in read(path)["Resources"]}


def test_the_names_that_the_runbooks_explain_exist() -> None:
    """The second column has a resource or an output of the template."""
    rows = re.findall(r"^\| `[A-Z_]+` \| (.*?) \|$", RUNBOOKS, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([A-Z][A-Za-z]+)`", row)}
    functions = {name: each for name, each in read(TEMPLATE)["Resources"].items() if "Events" in each["Properties"]}
    of_events = {f"{name}{event}" for name, each in functions.items() for event in each["Properties"]["Events"]}

    assert len(named) > 8
    assert named <= resources() | set(read(TEMPLATE)["Outputs"]) | of_events


def test_one_parameter_is_changed_and_the_others_are_kept(tmp_path: Path) -> None:
    [script] = [block for block in re.findall(r"(?ms)^```sh\n(.*?)^```$", RUNBOOKS) if "update-stack" in block]
    fake = tmp_path / "aws"
    fake.write_text(
        "#!/bin/sh\n"
        'case "$2" in\n'
        '  describe-stacks) printf "AuthMode\\tTracing\\tBatchMemorySize\\n" ;;\n'
        f'  *) for word in "$@"; do echo "$word"; done >> {tmp_path}/log ;;\n'
        "esac\n"
    )
    fake.chmod(0o755)
    subprocess.run(
        ["sh", "-euc", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True, capture_output=True, text=True
    )
    words = (tmp_path / "log").read_text().splitlines()

    given = words[words.index("--parameters") + 1 :][:4]
    assert given == [
        "ParameterKey=MemorySize,ParameterValue=5120",
        "ParameterKey=AuthMode,UsePreviousValue=true",
        "ParameterKey=Tracing,UsePreviousValue=true",
        "ParameterKey=BatchMemorySize,UsePreviousValue=true",
    ]
    assert "--use-previous-template" in words
    assert words[:4] == ["cloudformation", "update-stack", "--stack-name", "STACK"]
