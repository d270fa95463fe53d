"""Push a local image to the account's registry: `python infra/push_endpoint.py IMAGE REPOSITORY TAG`.

The last line that it prints is the template's parameter `EndpointImageUri`, by digest: a tag can be moved.
"""

import base64
import re
import subprocess
import sys
from collections.abc import Sequence

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.registry import DOCKER_MANIFEST, Manifest, Registry, RegistryError

_REPOSITORY = re.compile(r"([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([a-z0-9._/-]+)")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DOCKER_PARTS = ("application/vnd.docker.container.image.", "application/vnd.docker.image.rootfs.")
_FUNCTION_TAG = "-cpu"  # infra/repository.yaml lets tags with this end move, and expires their images


class NotPushed(Exception):
    """The registry or docker refused, or SageMaker would refuse the image; the text says which and why."""


def push(image: str, repository: str, tag: str) -> str:
    """Push an image and return its URI by digest. A tag that already holds this image is not pushed again.

    Raises:
        NotPushed: `repository` is no ECR repository, the tag holds another image, the registry or docker refused, or
            the stored manifest is not one that SageMaker accepts.
    """
    account, region, name = _parse(repository, tag)
    user, password, server = _credentials(account, region)
    registry = Registry(server, name, user, password)
    stored = _stored(registry, tag)
    if stored is None:
        _docker("login", "--username", user, "--password-stdin", server, text=password)
        _docker("tag", image, f"{repository}:{tag}")
        _docker("push", f"{repository}:{tag}")
        stored = _stored(registry, tag)
    elif _image_id(image) not in (stored.config_digest, stored.digest):
        raise NotPushed(f"{repository}:{tag} holds another image, and a tag is not moved: choose another TAG")
    return f"{repository}@{_checked(stored, f'{repository}:{tag}').digest}"


def _parse(repository: str, tag: str) -> tuple[str, str, str]:
    match = _REPOSITORY.fullmatch(repository)
    if not match:
        raise NotPushed(f"{repository!r} is not ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME: see infra/repository.yaml")
    if not _TAG.fullmatch(tag):
        raise NotPushed(f"{tag!r} is not a tag: it has up to 128 letters, digits, dots, hyphens and underscores")
    if tag.endswith(_FUNCTION_TAG):
        raise NotPushed(
            f"TAG {tag!r} ends with {_FUNCTION_TAG!r}: the registry expires such images. Choose another TAG"
        )
    account, region, name = match.groups()
    return account, region, name


def _stored(registry: Registry, tag: str) -> Manifest | None:
    try:
        return registry.manifest(tag)
    except RegistryError as error:
        raise NotPushed(str(error)) from error


def _checked(stored: Manifest | None, reference: str) -> Manifest:
    """Return the manifest if SageMaker accepts it: a Docker manifest of one image, without attestations."""
    if stored is None:
        raise NotPushed(f"docker pushed {reference}, but the registry does not have it")
    kinds = [stored.media_type, *sorted(stored.media_types)]
    foreign = [each for each in kinds if each != DOCKER_MANIFEST and not each.startswith(_DOCKER_PARTS)]
    if foreign:
        raise NotPushed(
            f"{reference} is stored as {foreign[0]}, which SageMaker refuses; it needs {DOCKER_MANIFEST}. "
            "Turn off Docker's containerd image store, and push again under another TAG"
        )
    return stored


def _credentials(account: str, region: str) -> tuple[str, str, str]:
    """Fetch user, password and server; a token is valid for twelve hours."""
    try:
        response = boto3.client("ecr", region_name=region).get_authorization_token(registryIds=[account])
    except (BotoCoreError, ClientError) as error:
        raise NotPushed(f"ECR gave no authorization token: {error}") from error
    [authorization] = response["authorizationData"]
    user, _, password = base64.b64decode(authorization["authorizationToken"]).decode().partition(":")
    return user, password, authorization["proxyEndpoint"]


def _image_id(image: str) -> str:
    return _docker("image", "inspect", "--format", "{{.Id}}", image).strip()


def _docker(*words: str, text: str | None = None) -> str:
    try:
        done = subprocess.run(["docker", *words], input=text, stdout=subprocess.PIPE, check=False, text=True)  # noqa: S603, S607 - docker from the PATH
    except FileNotFoundError as error:
        raise NotPushed("docker is not installed") from error
    if done.returncode:
        raise NotPushed(f"docker {words[0]} ended with {done.returncode}")
    return done.stdout


def main(words: Sequence[str]) -> int:
    """Push the image and print the parameter."""
    try:
        print(f"EndpointImageUri={push(*words)}")
    except NotPushed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
