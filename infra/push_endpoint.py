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

_REPOSITORY = re.compile(r"([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/[a-z0-9._/-]+")


class NotPushed(Exception):
    """The registry or docker refused; the text says which and why."""


def push(image: str, repository: str, tag: str) -> str:
    """Push an image and return its URI by digest.

    Raises:
        NotPushed: `repository` is no ECR repository, or the registry or docker refused.
    """
    match = _REPOSITORY.fullmatch(repository)
    if not match:
        raise NotPushed(f"{repository!r} is not ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME: see infra/repository.yaml")
    user, password, server = _credentials(*match.groups())
    _docker("login", "--username", user, "--password-stdin", server, text=password)
    _docker("tag", image, f"{repository}:{tag}")
    _docker("push", f"{repository}:{tag}")
    digests = _docker("image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', f"{repository}:{tag}").splitlines()
    return next(digest for digest in digests if digest.startswith(f"{repository}@"))


def _credentials(account: str, region: str) -> tuple[str, str, str]:
    """Fetch user, password and server; a token is valid for twelve hours."""
    try:
        response = boto3.client("ecr", region_name=region).get_authorization_token(registryIds=[account])
    except (BotoCoreError, ClientError) as error:
        raise NotPushed(f"ECR gave no authorization token: {error}") from error
    [authorization] = response["authorizationData"]
    user, _, password = base64.b64decode(authorization["authorizationToken"]).decode().partition(":")
    return user, password, authorization["proxyEndpoint"]


def _docker(*words: str, text: str | None = None) -> str:
    done = subprocess.run(["docker", *words], input=text, stdout=subprocess.PIPE, check=False, text=True)  # noqa: S603, S607 - docker from the PATH
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
