"""A container registry as ECR is: the OCI distribution protocol, tags that cannot be pushed again, its token call.

It holds one repository. `log` has a line for each request, as docker's pushes make them.
"""

import base64
import fnmatch
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "AWS", "token"
MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)")
BLOB = re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>sha256:[0-9a-f]{64})")
UPLOAD = re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<id>\w*)")


def sha256(body: bytes) -> str:
    """The digest of bytes as registries write it."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@dataclass
class Repository:
    """What the registry stores, and its setting of tags."""

    name: str
    mutability: str = "IMMUTABLE"
    mutable_tags: Sequence[str] = ()
    bearer: bool = False  # ask for a token as Docker Hub does, instead of ECR's user and password
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    url: str = ""

    def refuses(self, tag: str) -> bool:
        """Whether a tag exists and cannot be pushed again, be it with the same manifest."""
        excluded = any(fnmatch.fnmatchcase(tag, each) for each in self.mutable_tags)
        mutable = {"IMMUTABLE": False, "IMMUTABLE_WITH_EXCLUSION": excluded}.get(self.mutability, True)
        return tag in self.tags and not mutable

    def find(self, reference: str) -> tuple[str, tuple[str, bytes]] | None:
        """The digest, media type and bytes of a tag's or a digest's manifest."""
        digest = self.tags.get(reference, reference)
        return (digest, self.manifests[digest]) if digest in self.manifests else None

    def missing(self, manifest: dict[str, Any]) -> list[str]:
        """The blobs and manifests that a manifest names and the repository lacks."""
        named = [*manifest.get("layers", []), *([manifest["config"]] if "config" in manifest else [])]
        children = [each["digest"] for each in manifest.get("manifests", []) if each["digest"] not in self.manifests]
        return children + [each["digest"] for each in named if each["digest"] not in self.blobs]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repository: Repository

    def do_GET(self) -> None:
        if self.path.startswith("/token?"):
            return self._answer(200, json.dumps({"token": PASSWORD}).encode())
        if not self._allowed():
            return self._challenge()
        if match := MANIFEST.fullmatch(self.path):
            return self._get_manifest(match["reference"])
        if match := BLOB.fullmatch(self.path):
            blob = self.repository.blobs.get(match["digest"])
            return self._answer(200, blob) if blob is not None else self._refuse(404, "BLOB_UNKNOWN", "no such blob")
        return self._answer(200 if self.path == "/v2/" else 404, b"{}")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        if self.headers.get("x-amz-target", "").endswith(".GetAuthorizationToken"):
            token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            data = {"authorizationToken": token, "proxyEndpoint": self.repository.url, "expiresAt": 1.0}
            self._body()
            return self._answer(200, json.dumps({"authorizationData": [data]}).encode())
        if not self._allowed():
            return self._challenge()
        identity = f"u{len(self.repository.uploads)}"
        self.repository.uploads[identity] = self._body()
        return self._answer(202, headers=self._location(identity))

    def do_PATCH(self) -> None:
        match = UPLOAD.fullmatch(urlsplit(self.path).path)
        if not self._allowed() or not match:
            return self._challenge()
        self.repository.uploads[match["id"]] += self._body()
        return self._answer(202, headers=self._location(match["id"]))

    def do_PUT(self) -> None:
        if not self._allowed():
            return self._challenge()
        if match := MANIFEST.fullmatch(self.path):
            return self._put_manifest(match["reference"])
        match = UPLOAD.fullmatch(urlsplit(self.path).path)
        assert match, self.path
        [digest] = parse_qs(urlsplit(self.path).query)["digest"]
        body = self.repository.uploads.pop(match["id"]) + self._body()
        if sha256(body) != digest:
            return self._refuse(400, "DIGEST_INVALID", "the digest is not that of the content")
        self.repository.blobs[digest] = body
        return self._answer(201, headers={"Docker-Content-Digest": digest, "Location": self.path})

    def _put_manifest(self, reference: str) -> None:
        repository, body = self.repository, self._body()
        digest = sha256(body)
        if missing := repository.missing(json.loads(body)):
            return self._refuse(404, "MANIFEST_BLOB_UNKNOWN", f"unknown: {missing}")
        if repository.refuses(reference):
            text = (
                f"The image tag '{reference}' already exists in the '{repository.name}' repository and cannot be "
                "overwritten because the tag is immutable."
            )
            return self._refuse(400, "TAG_INVALID", text)
        repository.manifests[digest] = (self.headers["content-type"], body)
        if not reference.startswith("sha256:"):
            repository.tags[reference] = digest
        return self._answer(201, headers={"Docker-Content-Digest": digest, "Location": self.path})

    def _get_manifest(self, reference: str) -> None:
        found = self.repository.find(reference)
        if not found:
            return self._refuse(404, "MANIFEST_UNKNOWN", "no such manifest")
        digest, (kind, body) = found
        return self._answer(200, body, {"Content-Type": kind, "Docker-Content-Digest": digest})

    def _allowed(self) -> bool:
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return self.headers.get("authorization") == (
            f"Bearer {PASSWORD}" if self.repository.bearer else f"Basic {pair}"
        )

    def _challenge(self) -> None:
        self._body()
        scope = f'service="registry",scope="repository:{self.repository.name}:pull"'
        kind = f'Bearer realm="{self.repository.url}/token",{scope}' if self.repository.bearer else 'Basic realm="ecr"'
        self._refuse(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": kind})

    def _location(self, identity: str) -> dict[str, str]:
        last = max(0, len(self.repository.uploads[identity]) - 1)
        path = f"{self.repository.url}/v2/{self.repository.name}/blobs/uploads/{identity}"
        return {"Location": path, "Docker-Upload-UUID": identity, "Range": f"0-{last}"}

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        self._answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), headers)

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.repository.log.append(f"{self.command} {urlsplit(self.path).path} {status}")
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep standard error clean."""


@contextmanager
def registry(repository: Repository) -> Iterator[Repository]:
    """Serve a repository until the block ends; its `url` says where."""
    handler = type("Handler", (_Handler,), {"repository": repository})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        repository.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield repository
        finally:
            server.shutdown()
            thread.join()
