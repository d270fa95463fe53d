"""A local image -> the account's registry, named by its digest: `python infra/push_endpoint.py IMAGE REPOSITORY TAG`.

What it prints last is the template's parameter `EndpointImageUri`: a tag could be moved, a digest cannot.
"""

import base64
import re
import subprocess
import sys
from collections.abc import Sequence

import boto3
from botocore.exceptions import BotoCoreError, ClientError

_REPOSITORY = re.compile(r"([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/[a-z0-9._/-]+")


class NotPushed(Exception):
    """The registry or docker refused; the text says which."""


def push(image: str, repository: str, tag: str) -> str:
    """Push an image and return its address by digest.

    Raises:
        NotPushed: The address is none of a registry, or somebody refused.
    """
    found = _REPOSITORY.fullmatch(repository)
    if not found:
        raise NotPushed(f"{repository!r} is not ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME: see infra/repository.yaml")
    user, password, server = _credentials(*found.groups())
    _docker("login", "--username", user, "--password-stdin", server, text=password)
    _docker("tag", image, f"{repository}:{tag}")
    _docker("push", f"{repository}:{tag}")
    digests = _docker("image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', f"{repository}:{tag}").splitlines()
    return next(each for each in digests if each.startswith(f"{repository}@"))


def _credentials(account: str, region: str) -> tuple[str, str, str]:
    """User, password and server; a token lives for twelve hours."""
    try:
        answer = boto3.client("ecr", region_name=region).get_authorization_token(registryIds=[account])
    except (BotoCoreError, ClientError) as error:
        raise NotPushed(f"the registry gives no token: {error}") from error
    [given] = answer["authorizationData"]
    user, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
    return user, password, given["proxyEndpoint"]


def _docker(*words: str, text: str | None = None) -> str:
    done = subprocess.run(["docker", *words], input=text, stdout=subprocess.PIPE, check=False, text=True)  # noqa: S603, S607 - docker as the PATH has it
    if done.returncode:
        raise NotPushed(f"docker {words[0]} ended with {done.returncode}")
    return done.stdout


def main(words: Sequence[str]) -> int:
    """Push, and print the parameter."""
    try:
        print(f"EndpointImageUri={push(*words)}")
    except NotPushed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
