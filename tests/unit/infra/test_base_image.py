"""The base image's digest is that of its tag at the registry, which asks for a token as Docker Hub does."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the files that name the base image."""
    for path in (base_image.FIXED, *base_image.PLACES):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


def test_it_writes_the_digest_and_the_tag_and_nothing_else(hub: Repository, sources: Path) -> None:
    name = f"{hub.url.removeprefix('http://')}/library/python:3.11"
    before = base_image.named(sources).partition("@")[0]

    assert base_image.main([name], sources) == 0

    assert base_image.named(sources) == f"{name}@{sha256(INDEX)}"
    assert hub.log == [
        "GET /v2/library/python/manifests/3.11 401",
        "GET /token 200",
        "GET /v2/library/python/manifests/3.11 200",
    ]
    for path in base_image.PLACES:
        assert (sources / path).read_text() == (ROOT / path).read_text().replace(before, name, 1)


def test_a_second_run_updates_the_digest_of_the_named_tag(hub: Repository, sources: Path) -> None:
    name = f"{hub.url.removeprefix('http://')}/library/python:3.11"
    base_image.write(f"{name}@sha256:{'0' * 64}", sources)

    assert base_image.main(["--check"], sources) == 1
    assert base_image.named(sources) == f"{name}@sha256:{'0' * 64}"
    assert base_image.main([], sources) == 0
    assert base_image.named(sources) == f"{name}@{sha256(INDEX)}"
    assert base_image.main(["--check"], sources) == 0


def test_an_unknown_tag_and_a_silent_registry_are_named_and_change_nothing(
    hub: Repository, sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = base_image.named(sources)

    assert base_image.main([f"{hub.url.removeprefix('http://')}/library/python:3.99"], sources) == 1
    assert "has no library/python:3.99; nothing was changed" in capsys.readouterr().err
    assert base_image.main(["127.0.0.1:1/library/python:3.11"], sources) == 1
    assert "nothing was changed" in capsys.readouterr().err
    assert base_image.named(sources) == before


def test_two_different_base_images_are_refused(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dockerfile = sources / "infra" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("3.11-slim", "3.12-slim"))

    assert base_image.main([], sources) == 1
    assert "infra/Dockerfile, template.yaml" in capsys.readouterr().err


def test_a_build_starts_from_the_chosen_image_and_by_default_from_the_fixed_one() -> None:
    def printed(*words: str) -> str:
        return subprocess.run(["make", "-n", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    for target, option in {"image": "--build-arg BASE_IMAGE", "image-cuda": "--build-arg BASE_IMAGE"}.items():
        assert f"{option}=$(infra/base-image.sh) " in printed(target)
        assert f"{option}=python:3.12 " in printed(target, "BASE_IMAGE=python:3.12")
    for target in ("invoke", "start-api"):
        assert "sam build --parameter-overrides BaseImage=$(infra/base-image.sh)" in printed(target)


@pytest.mark.parametrize(
    ("here", "pulled", "warned", "taken"),
    [
        (["fixed", "tag"], [], False, "fixed"),
        (["fixed"], [], False, "fixed"),
        (["tag"], ["fixed"], False, "fixed"),
        ([], ["fixed"], False, "fixed"),
        (["tag"], [], True, "tag"),
        ([], [], False, "fixed"),
    ],
)
def test_a_local_image_is_taken_by_its_tag_only_where_the_digest_cannot_be_pulled(
    tmp_path: Path, here: list[str], pulled: list[str], taken: str, *, warned: bool
) -> None:
    names = {"fixed": base_image.named(), "tag": base_image.named().partition("@")[0]}
    docker = tmp_path / "docker"
    docker.write_text(
        f"""#!/bin/sh
case "$1 $2 $3" in
{"".join(f'"image inspect {names[each]}") exit 0 ;;' for each in here)}
{"".join(f'"pull --quiet {names[each]}") exit 0 ;;' for each in pulled)}
esac
exit 1
"""
    )
    docker.chmod(0o755)

    done = subprocess.run(
        [ROOT / "infra" / "base-image.sh"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout == f"{names[taken]}\n"
    assert ("cannot be pulled" in done.stderr) is warned


@pytest.mark.parametrize(("image", "warned"), [("python:3.11", True), (f"python:3.11@{sha256(INDEX)}", False)])
def test_the_dockerfile_prints_the_warning_for_every_builder(image: str, *, warned: bool) -> None:
    [command] = re.findall(r"(?m)^RUN (case .*)$", DOCKERFILE)
    printed = subprocess.run(
        ["sh", "-c", command], env={"BASE_IMAGE": image}, check=True, capture_output=True, text=True
    ).stdout

    assert ("has no digest" in printed) is warned


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


def test_the_sources_name_the_base_image_by_digest_and_its_tag_for_builds_by_hand() -> None:
    [line] = [each for each in DOCKERFILE.splitlines() if each.startswith("ARG BASE_IMAGE=")]
    tag, _, digest = base_image.named().partition("@")

    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert line.partition("=")[2] == read(TEMPLATE)["Parameters"]["BaseImage"]["Default"] == tag
    assert [each for each in DOCKERFILE.splitlines() if each.startswith("FROM ") and "BASE_IMAGE" in each] == [
        "FROM ${BASE_IMAGE} AS base"
    ]
