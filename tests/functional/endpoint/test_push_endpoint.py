"""Pushing the endpoint's image to a registry as ECR is: what is stored, what is checked, what is refused."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import push_endpoint
from infra.local_account import CREDENTIALS
from infra.registry import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.support.paths import ROOT
from tests.support.pushes import image, push
from tests.support.registry import PASSWORD, Repository, registry, sha256
from tests.support.stack import TEMPLATE, read

REPOSITORY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/heatlens"
FAKE = f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.support.pushes "$@"\n'
CUDA = image("cuda")


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """A registry whose tags cannot move, its API of tokens, and a docker command that has the image `cuda`."""
    fake = tmp_path / "docker"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    with registry(Repository("team/heatlens")) as served:
        given = {
            "AWS_ENDPOINT_URL_ECR": served.url,
            "FAKE_DOCKER": str(tmp_path),
            "FAKE_IMAGE": "cuda",
            "FAKE_KIND": DOCKER_MANIFEST,
            "PATH": f"{tmp_path}:/usr/bin:/bin",
        }
        for name, value in (CREDENTIALS | given).items():
            monkeypatch.setenv(name, value)
        yield served


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_it_logs_in_pushes_and_names_the_stored_digest(
    ecr: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push_endpoint.main(["heatlens:cuda", REPOSITORY, "0.1.0"]) == 0

    assert capsys.readouterr().out == f"EndpointImageUri={REPOSITORY}@{sha256(CUDA.manifests[-1][1])}\n"
    assert calls(tmp_path) == [
        f"login --username AWS --password-stdin {ecr.url} {PASSWORD}",
        f"tag heatlens:cuda {REPOSITORY}:0.1.0 ",
        f"push {REPOSITORY}:0.1.0 ",
    ]
    assert ecr.manifests[ecr.tags["0.1.0"]][0] == DOCKER_MANIFEST


@pytest.mark.parametrize("kind", [OCI_INDEX, OCI_MANIFEST])
def test_a_manifest_that_sagemaker_refuses_gives_no_parameter(
    ecr: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    monkeypatch.setenv("FAKE_KIND", kind)

    assert push_endpoint.main(["heatlens:cuda", REPOSITORY, "0.1.0"]) == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{REPOSITORY}:0.1.0 is stored as {kind}, which SageMaker refuses" in printed.err
    assert ecr.manifests[ecr.tags["0.1.0"]][0] == kind


def test_a_tag_that_holds_the_image_is_not_pushed_again(
    ecr: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for _ in range(2):
        assert push_endpoint.main(["heatlens:cuda", REPOSITORY, "0.1.0"]) == 0
        printed.append(capsys.readouterr().out)

    assert printed[0] == printed[1]
    assert [call.split()[0] for call in calls(tmp_path)] == ["login", "tag", "push", "image"]


def test_a_tag_that_holds_another_image_is_refused_before_the_push(
    ecr: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(ecr.url, "team/heatlens", "0.1.0", image("an older one"))

    assert push_endpoint.main(["heatlens:cuda", REPOSITORY, "0.1.0"]) == 1

    assert f"{REPOSITORY}:0.1.0 holds another image" in capsys.readouterr().err
    assert [call.split()[0] for call in calls(tmp_path)] == ["image"]


@pytest.mark.parametrize("fails", ["login", "tag", "push"])
def test_push_stops_after_a_refusal(
    ecr: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: str
) -> None:
    monkeypatch.setenv("FAKE_FAILS", fails)

    assert push_endpoint.main(["heatlens:cuda", REPOSITORY, "0.1.0"]) == 1

    assert f"docker {fails} ended with 1" in capsys.readouterr().err
    assert ecr.tags == {}


@pytest.mark.parametrize(
    ("repository", "tag", "says"),
    [
        ("heatlens", "0.1.0", "'heatlens' is not ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME"),
        (REPOSITORY, "0.1.0-cpu", "TAG '0.1.0-cpu' ends with '-cpu'"),
    ],
)
def test_addresses_and_tags_that_cannot_be_meant_are_refused(
    ecr: Repository, capsys: pytest.CaptureFixture[str], repository: str, tag: str, says: str
) -> None:
    assert push_endpoint.main(["heatlens:cuda", repository, tag]) == 1

    assert says in capsys.readouterr().err
    assert ecr.log == []


@pytest.mark.parametrize("tag", ["1.0 beta", "", "-1", "a" * 129, "1.0?x", "0.1.0\n"])
def test_a_tag_that_docker_does_not_know_is_refused_before_any_call(
    ecr: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str], tag: str
) -> None:
    assert push_endpoint.main(["heatlens:cuda", REPOSITORY, tag]) == 1

    assert "is not a tag" in capsys.readouterr().err
    assert ecr.log == calls(tmp_path) == []


def test_without_docker_the_reason_is_one_line(
    ecr: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))

    assert push_endpoint.main(["heatlens:cuda", REPOSITORY, "0.1.0"]) == 1

    assert capsys.readouterr().err == "docker is not installed\n"
    assert ecr.tags == {}


@pytest.mark.parametrize("partition", ["amazonaws.com", "amazonaws.com.cn"])
def test_the_template_accepts_every_address_that_is_printed(partition: str) -> None:
    repository = f"123456789012.dkr.ecr.cn-north-1.{partition}/team/heatlens"
    push_endpoint._parse(repository, "0.1.0")

    pattern = read(TEMPLATE)["Parameters"]["EndpointImageUri"]["AllowedPattern"]
    assert re.fullmatch(pattern, f"{repository}@sha256:{'0' * 64}")


def test_a_registry_that_does_not_answer_is_named(
    ecr: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(push_endpoint, "_credentials", lambda *_: ("AWS", "expired", ecr.url))

    assert push_endpoint.main(["heatlens:cuda", REPOSITORY, "0.1.0"]) == 1

    assert "HTTP Error 401" in capsys.readouterr().err


@pytest.mark.parametrize(("status", "given"), [(0, True), (1, False)], ids=["buildx", "classic"])
def test_the_image_is_built_as_docker_image_without_attestations(tmp_path: Path, status: int, given: object) -> None:
    """The classic builder knows neither these options nor attestations."""
    fake = tmp_path / "docker"
    fake.write_text(f"#!/bin/sh\nexit {status}\n")
    fake.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    printed = subprocess.run(
        ["make", "-n", "image-cuda"], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout

    assert ("--provenance=false --sbom=false --output type=docker" in printed) is given
    assert "--target cuda" in printed
