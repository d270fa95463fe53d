"""Two deployments of one image: what a registry with the template's setting of tags answers to SAM's pushes."""

import json
import socket
from collections.abc import Iterator
from io import BytesIO
from threading import Thread

import pytest

from infra.registry import DOCKER_MANIFEST, OCI_INDEX, Registry, RegistryError, _token
from tests.support.paths import ROOT
from tests.support.pushes import Image, image, push
from tests.support.registry import PASSWORD, USER, Repository, registry, sha256
from tests.support.stack import FUNCTIONS, TEMPLATE, Stack, read

SETTINGS = Stack(ROOT / "infra" / "repository.yaml").properties("Repository")
EXCLUDED = [each["ImageTagMutabilityExclusionFilterValue"] for each in SETTINGS["ImageTagMutabilityExclusionFilters"]]
CPU = image("functions")


@pytest.fixture
def ecr() -> Iterator[Repository]:
    with registry(Repository("heatlens", SETTINGS["ImageTagMutability"], EXCLUDED)) as served:
        yield served


def sam_tag(function: str, built: Image) -> str:
    """The tag that `sam deploy` pushes: the function, 12 digits of the image's id, and the template's DockerTag."""
    tag = read(TEMPLATE)["Resources"][function]["Metadata"]["DockerTag"]
    return f"{function.lower()}-{built.id[7:19]}-{tag}"


def deploy(to: Repository, built: Image) -> list[str]:
    """Push the image of every function, as `sam deploy` does without asking what is there."""
    return [line for name in FUNCTIONS for line in push(to.url, "heatlens", sam_tag(name, built), built)]


def test_a_second_deployment_of_the_same_image_is_accepted(ecr: Repository) -> None:
    first, second = deploy(ecr, CPU), deploy(ecr, CPU)

    assert sum("Layer already exists" in line for line in second) == 2 * len(FUNCTIONS)
    assert [line for line in second if "digest" in line] == [line for line in first if "digest" in line]
    assert (
        len([line for line in ecr.log if line.startswith("PUT /v2/heatlens/manifests/") and line.endswith("201")]) == 6
    )


def test_immutable_tags_refuse_even_the_same_digest() -> None:
    """The setting that made every deployment of a changed parameter fail."""
    with registry(Repository("heatlens", "IMMUTABLE")) as immutable:
        deploy(immutable, CPU)
        with pytest.raises(PermissionError, match=r"tag invalid: The image tag .* cannot be overwritten"):
            deploy(immutable, CPU)


def test_tags_of_the_endpoint_stay_immutable(ecr: Repository) -> None:
    push(ecr.url, "heatlens", "0.1.0", image("cuda"))

    with pytest.raises(PermissionError, match=r"'0\.1\.0' already exists"):
        push(ecr.url, "heatlens", "0.1.0", image("another"))


def test_the_tags_that_may_move_are_those_that_expire() -> None:
    [rule] = [
        each
        for each in json.loads(SETTINGS["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
        if each["selection"]["tagStatus"] == "tagged"
    ]

    assert rule["selection"]["tagPatternList"] == EXCLUDED


def test_a_manifest_has_its_digest_and_media_types(ecr: Repository) -> None:
    push(ecr.url, "heatlens", "1.0", CPU)
    found = Registry(ecr.url, "heatlens", USER, PASSWORD).manifest("1.0")

    assert found
    assert found.digest == sha256(CPU.manifests[-1][1])
    assert found.config_digest == CPU.id
    assert {each.partition(".v")[0] for each in found.media_types} >= {"application/vnd.docker.distribution.manifest"}
    assert found.media_type == DOCKER_MANIFEST


def test_an_index_names_the_manifests_that_it_lists(ecr: Repository) -> None:
    pushed = image("cuda", OCI_INDEX)
    push(ecr.url, "heatlens", "1.0", pushed)
    found = Registry(ecr.url, "heatlens", USER, PASSWORD).manifest("1.0")

    assert found
    assert found.media_types == {OCI_INDEX, pushed.manifests[0][0]}
    assert found.config_digest == ""


def test_a_missing_tag_is_none_and_a_refusal_is_an_error(ecr: Repository) -> None:
    assert Registry(ecr.url, "heatlens", USER, PASSWORD).manifest("2.0") is None
    with pytest.raises(RegistryError, match="401"):
        Registry(ecr.url, "heatlens", USER, "wrong").manifest("2.0")
    with pytest.raises(RegistryError, match="cannot be reached"):
        Registry("http://127.0.0.1:1", "heatlens").manifest("2.0")


OK = b"HTTP/1.1 200 OK\r\nContent-Length: "
ANSWERS = {
    "a page of a proxy": OK + b"12\r\nContent-Type: text/html\r\n\r\n<html></html",
    "a list": OK + b"2\r\n\r\n[]",
    "an end in the middle": OK + b"500\r\n\r\n{",
    "no answer": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a challenge without an address": b"HTTP/1.1 401 X\r\nWWW-Authenticate: Bearer x\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_what_is_no_manifest_is_an_error_that_names_the_address(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RegistryError, match=address):
            Registry(address, "heatlens").manifest("1.0")
        thread.join()


def test_a_token_may_be_named_as_oauth_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.registry.urlopen", lambda *_, **__: BytesIO(b'{"access_token": "t"}'))

    assert _token('Bearer realm="https://auth.example/token",service="r"') == "t"
