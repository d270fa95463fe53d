"""The base image's digest is that of its tag at the registry, which asks for a token as Docker Hub does."""

from collections.abc import Iterator

import pytest

from infra import base_image
from infra.registry import OCI_INDEX
from tests.support.paths import ROOT
from tests.support.pushes import image
from tests.support.registry import Repository, registry, sha256
from tests.support.stack import TEMPLATE, read

INDEX = image("python", OCI_INDEX).manifests[-1][1]
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text()


@pytest.fixture
def hub() -> Iterator[Repository]:
    """A registry with `library/python:3.11`, an index as public base images are."""
    stored = {sha256(INDEX): (OCI_INDEX, INDEX)}
    with registry(Repository("library/python", bearer=True, manifests=stored, tags={"3.11": sha256(INDEX)})) as served:
        yield served


def test_it_prints_the_name_with_the_digest(hub: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{hub.url.removeprefix('http://')}/library/python:3.11"

    assert base_image.main([name]) == 0

    assert capsys.readouterr().out == f"BASE_IMAGE={name}@{sha256(INDEX)}\n"
    assert hub.log == [
        "GET /v2/library/python/manifests/3.11 401",
        "GET /token 200",
        "GET /v2/library/python/manifests/3.11 200",
    ]


@pytest.mark.parametrize(("digest", "status"), [(sha256(INDEX), 0), (f"sha256:{'0' * 64}", 1)])
def test_a_given_digest_is_compared_with_the_tag(
    hub: Repository, capsys: pytest.CaptureFixture[str], digest: str, status: int
) -> None:
    name = f"{hub.url.removeprefix('http://')}/library/python:3.11"

    assert base_image.main([f"{name}@{digest}"]) == status

    printed = capsys.readouterr()
    assert printed.out == f"BASE_IMAGE={name}@{sha256(INDEX)}\n"
    assert ("is not what its tag names now" in printed.err) is bool(status)


def test_an_unknown_tag_and_a_silent_registry_are_named(hub: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    assert base_image.main([f"{hub.url.removeprefix('http://')}/library/python:3.99"]) == 1
    assert base_image.main(["127.0.0.1:1/library/python:3.11"]) == 1

    assert [words in capsys.readouterr().err for words in ("has no library/python:3.99",)] == [True]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("python:3.11-slim", ("https://registry-1.docker.io", "library/python", "3.11-slim")),
        ("team/python", ("https://registry-1.docker.io", "team/python", "latest")),
        ("ghcr.io/a/b:1", ("https://ghcr.io", "a/b", "1")),
        ("localhost:5000/b:1", ("http://localhost:5000", "b", "1")),
    ],
)
def test_names_are_read_as_docker_reads_them(name: str, parts: tuple[str, str, str]) -> None:
    assert base_image._parse(name) == parts


def test_the_dockerfile_and_the_template_start_from_the_same_image() -> None:
    [line] = [each for each in DOCKERFILE.splitlines() if each.startswith("ARG BASE_IMAGE=")]

    assert line.partition("=")[2] == read(TEMPLATE)["Parameters"]["BaseImage"]["Default"]
    assert [each for each in DOCKERFILE.splitlines() if each.startswith("FROM ") and "BASE_IMAGE" in each] == [
        "FROM ${BASE_IMAGE} AS base"
    ]
