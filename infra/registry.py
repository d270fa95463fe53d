"""Read image manifests from a container registry (the OCI distribution protocol, version 2)."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_ACCEPT = ", ".join((DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX))
_UNAUTHORIZED, _NOT_FOUND = 401, 404
# What a broken connection or an answer of something else raises; URLError is an OSError, JSONDecodeError a ValueError.
_BROKEN = (OSError, HTTPException, ValueError, KeyError, TypeError)


class RegistryError(Exception):
    """The registry could not be read; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A stored manifest: its digest, its media type as the registry gives it, and its JSON."""

    digest: str
    media_type: str
    body: Mapping[str, Any]

    @property
    def media_types(self) -> set[str]:
        """The media types of the manifest and of everything that it names."""
        named = [self.body.get("config"), *self.body.get("layers", []), *self.body.get("manifests", [])]
        return {self.media_type} | {each["mediaType"] for each in named if each}

    @property
    def config_digest(self) -> str:
        """The digest of the image's configuration, which Docker uses as the image's id; empty for an index."""
        return str(self.body.get("config", {}).get("digest", ""))


@dataclass(frozen=True, slots=True)
class Registry:
    """A repository at a registry, such as `Registry("https://registry-1.docker.io", "library/python")`."""

    server: str
    name: str
    user: str = ""
    password: str = ""

    def manifest(self, reference: str) -> Manifest | None:
        """Read the manifest of a tag or digest, or return None if there is none.

        Raises:
            RegistryError: The registry cannot be reached or refuses.
        """
        path = f"{self.server}/v2/{self.name}/manifests/{reference}"
        try:
            return self._read(path, self._basic())
        except HTTPError as error:
            challenge = error.headers.get("www-authenticate", "")
            if error.code == _UNAUTHORIZED and challenge.startswith("Bearer "):
                return self._read_with_token(path, challenge)
            raise RegistryError(f"{path}: {error}") from error
        except URLError as error:
            raise RegistryError(f"{self.server} cannot be reached: {error.reason}") from error
        except _BROKEN as error:
            raise RegistryError(f"{path} is no manifest: {error!r}") from error

    def _read_with_token(self, path: str, challenge: str) -> Manifest | None:
        try:
            return self._read(path, f"Bearer {_token(challenge)}")
        except _BROKEN as error:
            raise RegistryError(f"{path}: {error!r}") from error

    def _basic(self) -> str:
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}" if self.user else ""

    def _read(self, path: str, authorization: str) -> Manifest | None:
        headers = {"Accept": _ACCEPT} | ({"Authorization": authorization} if authorization else {})
        try:
            with urlopen(Request(path, headers=headers), timeout=60) as response:  # noqa: S310 - the registry's URL
                text, kind = response.read(), response.headers.get_content_type()
        except HTTPError as error:
            if error.code == _NOT_FOUND:
                return None
            raise
        body = json.loads(text)
        if not isinstance(body, dict):
            raise TypeError("its JSON is no object")
        return Manifest(f"sha256:{hashlib.sha256(text).hexdigest()}", kind, body)


def _token(challenge: str) -> str:
    """Fetch the anonymous token that a registry asks for."""
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = urlencode({name: asked[name] for name in ("service", "scope") if name in asked})
    with urlopen(f"{asked['realm']}?{query}", timeout=60) as response:  # noqa: S310 - named by the registry
        answer = json.load(response)
        return str(answer["token"] if "token" in answer else answer["access_token"])
