"""Images of several formats, and pushes of them by the requests that docker makes.

As a command, it stands in for docker: `python -m tests.support.pushes login|tag|push|image ...`.
"""

import base64
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from infra.registry import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.support.registry import PASSWORD, USER, sha256

TYPES = {
    DOCKER_MANIFEST: (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
    OCI_MANIFEST: ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
}
ATTESTED = {"vnd.docker.reference.type": "attestation-manifest"}


@dataclass(frozen=True)
class Image:
    """An image as docker keeps it: blobs and manifests by digest, the top one last."""

    blobs: tuple[bytes, ...]
    manifests: tuple[tuple[str, bytes], ...]

    @property
    def id(self) -> str:
        """The digest of the configuration, by which docker names the image."""
        return sha256(self.blobs[0])


def image(content: str, kind: str = DOCKER_MANIFEST) -> Image:
    """Make an image of one layer; an OCI index also has an attestation, as BuildKit adds it."""
    if kind == OCI_INDEX:
        child, proof = image(content, OCI_MANIFEST), image(f"provenance of {content}", OCI_MANIFEST)
        inner = (*child.manifests, *proof.manifests)
        listed = [
            {"mediaType": each, "digest": sha256(body), "size": len(body), "annotations": ATTESTED if number else {}}
            for number, (each, body) in enumerate(inner)
        ]
        return Image(child.blobs + proof.blobs, (*inner, (kind, _json(kind, manifests=listed))))
    config, layer = json.dumps({"os": "linux", "config": {"Labels": {"of": content}}}).encode(), content.encode()
    descriptors = [
        {"mediaType": each, "digest": sha256(blob), "size": len(blob)}
        for each, blob in zip(TYPES[kind], (config, layer), strict=True)
    ]
    return Image((config, layer), ((kind, _json(kind, config=descriptors[0], layers=descriptors[1:])),))


def _json(kind: str, **fields: Any) -> bytes:  # noqa: ANN401 - JSON
    return json.dumps({"schemaVersion": 2, "mediaType": kind, **fields}).encode()


def push(server: str, name: str, tag: str, pushed: Image) -> list[str]:
    """Push an image as docker does, and return the lines that docker prints.

    Raises:
        PermissionError: The registry refused; the text is docker's.
    """
    lines = [f"The push refers to repository [{name}]"]
    for blob in pushed.blobs:
        digest = sha256(blob)
        exists = _call("HEAD", f"{server}/v2/{name}/blobs/{digest}")[0] == 200
        if not exists:
            location = _call("POST", f"{server}/v2/{name}/blobs/uploads/", b"")[1]["Location"]
            location = _call("PATCH", location, blob)[1]["Location"]
            _call("PUT", f"{location}?digest={digest}", b"")
        lines.append(f"{digest[7:19]}: {'Layer already exists' if exists else 'Pushed'}")
    for kind, body in pushed.manifests:
        reference = tag if (kind, body) == pushed.manifests[-1] else sha256(body)
        status, _, text = _call("PUT", f"{server}/v2/{name}/manifests/{reference}", body, kind)
        if status != 201:
            [error] = json.loads(text)["errors"]
            raise PermissionError(f"{error['code'].replace('_', ' ').lower()}: {error['message']}")
    return [*lines, f"{tag}: digest: {sha256(pushed.manifests[-1][1])} size: {len(pushed.manifests[-1][1])}"]


def _call(method: str, url: str, body: bytes | None = None, kind: str = "") -> tuple[int, dict[str, str], bytes]:
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    headers = {"Authorization": f"Basic {pair}", "Content-Type": kind or "application/octet-stream"}
    try:
        with urlopen(Request(url, body, headers, method=method), timeout=60) as response:
            return response.status, dict(response.headers), response.read()
    except HTTPError as error:
        return error.code, dict(error.headers), error.read()


def docker(folder: Path, words: list[str], given: str) -> str:
    """Stand in for the docker command; the image's content and kind are in the environment."""
    local = image(os.environ["FAKE_IMAGE"], os.environ["FAKE_KIND"])
    with (folder / "calls").open("a", encoding="utf-8") as calls:
        print(*words, given, file=calls)
    match words:
        case ["login", *_, server]:
            (folder / "server").write_text(server)
            return "Login Succeeded"
        case ["image", "inspect", *_]:
            return local.id
        case ["push", reference]:
            name, _, tag = reference.partition("/")[2].rpartition(":")
            return "\n".join(push((folder / "server").read_text(), name, tag, local))
    return ""


if __name__ == "__main__":
    if os.environ.get("FAKE_FAILS") == sys.argv[1]:
        sys.exit(1)
    standard_input = sys.stdin.read() if sys.argv[1] == "login" else ""
    print(docker(Path(os.environ["FAKE_DOCKER"]), sys.argv[1:], standard_input))
