"""Print a base image by digest: `python infra/base_image.py IMAGE`, such as `python:3.11-slim-bookworm`.

An image that is given with a digest is checked: if its tag has another one at the registry, the result is 1.
"""

import sys
from collections.abc import Sequence

from infra.registry import Registry, RegistryError

DOCKER_HUB = "registry-1.docker.io"


def by_digest(image: str) -> str:
    """Return an image's name with the digest that its tag has at the registry now.

    Raises:
        RegistryError: The registry cannot be read, or has no such tag.
    """
    name, _, _ = image.partition("@")
    server, path, tag = _parse(name)
    manifest = Registry(server, path).manifest(tag)
    if manifest is None:
        raise RegistryError(f"{server} has no {path}:{tag}")
    return f"{name}@{manifest.digest}"


def _parse(image: str) -> tuple[str, str, str]:
    """Split a name as docker does: the server (Docker Hub by default), the repository and the tag."""
    first, slash, rest = image.partition("/")
    is_server = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, path = (first, rest) if is_server else (DOCKER_HUB, image if slash else f"library/{image}")
    repository, _, tag = path.partition(":")
    scheme = "http" if host.startswith(("localhost", "127.0.0.1")) else "https"
    return f"{scheme}://{host}", repository, tag or "latest"


def main(words: Sequence[str]) -> int:
    """Print the image by digest; with a digest given, compare the two."""
    [image] = words
    try:
        current = by_digest(image)
    except RegistryError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"BASE_IMAGE={current}")
    if "@" in image and image != current:
        print(f"{image} is not what its tag names now: build and test with the line above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
