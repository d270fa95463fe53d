"""Fix the base image: look up the digest of its tag, and write it into infra/base-image.txt.

`python infra/base_image.py [--check] [IMAGE]`. Without an image it is the tag that the sources name. Another image's
tag is also written into the Dockerfile and the template, which name the default of a build by hand. With `--check`
nothing is written, and the result is 1 if the file has another digest than the registry.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.registry import Registry, RegistryError

ROOT = Path(__file__).parents[1]
DOCKER_HUB = "registry-1.docker.io"
FIXED = Path("infra/base-image.txt")
# Where the tag stands, for `docker build` and `sam build` without arguments.
PLACES = {
    Path("infra/Dockerfile"): re.compile(r"(?m)(?<=^ARG BASE_IMAGE=)\S+$"),
    Path("template.yaml"): re.compile(r"(?m)(?<=^  BaseImage:\n    Type: String\n    Default: )\S+$"),
}


def named(root: Path = ROOT) -> str:
    """Return the base image that the sources name, by digest.

    Raises:
        ValueError: The file, the Dockerfile and the template name different tags, or one of them none.
    """
    fixed = (root / FIXED).read_text(encoding="utf-8").strip()
    tags = [place.findall((root / path).read_text(encoding="utf-8")) for path, place in PLACES.items()]
    if any(found != [_tag(fixed)] for found in tags):
        raise ValueError(f"the tag in {FIXED} must stand once in each of {', '.join(map(str, PLACES))}")
    return fixed


def write(image: str, root: Path = ROOT) -> None:
    """Write the name of the base image, given by digest, into the sources."""
    (root / FIXED).write_text(f"{image}\n", encoding="utf-8")
    for path, place in PLACES.items():
        text = (root / path).read_text(encoding="utf-8")
        (root / path).write_text(place.sub(lambda _: _tag(image), text), encoding="utf-8")


def _tag(image: str) -> str:
    return image.partition("@")[0]


def by_digest(image: str) -> str:
    """Return an image's name with the digest that its tag has at the registry now.

    Raises:
        RegistryError: The registry cannot be read, or has no such tag.
    """
    name = _tag(image)
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


def main(words: Sequence[str], root: Path = ROOT) -> int:
    """Write the base image by digest, or compare it; say which it was and is."""
    check, images = "--check" in words, [word for word in words if word != "--check"]
    try:
        before = named(root)
        now = by_digest(images[0] if images else before)
    except (RegistryError, ValueError) as error:
        print(f"{error}; nothing was changed", file=sys.stderr)
        return 1
    print(f"the sources: {before}\nthe registry: {now}")
    if before == now:
        return 0
    if check:
        print("run make base-image, then build and test", file=sys.stderr)
        return 1
    write(now, root)
    print(f"written to {FIXED}: build, test and commit")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
