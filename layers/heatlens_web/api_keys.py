"""Require an API key where `HEATLENS_API_KEYS` is set; the name of the key is who the caller is."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from heatlens.errors import SettingsError
from heatlens_web import problems
from heatlens_web.errors import MissingApiKey
from heatlens_web.principal import KEY_NAME

VARIABLE = "HEATLENS_API_KEYS"
SHORTEST = 16  # characters of a key: shorter ones can be guessed
# The page and its files hold nothing of anyone; probes have no key.
OPEN = frozenset({"/", "/docs", "/openapi.json", "/api/inference/health", "/api/inference/ready", "/ping"})
OPEN_BELOW = ("/static/", "/v2/health/")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = re.compile(r"[!-~]+")  # what a header carries unchanged


class ApiKeys:
    """Keys and the names of their owners. Only digests of the keys are kept."""

    def __init__(self, text: str) -> None:
        """Read `name=key` pairs, separated by commas; a name may have several keys, so that keys can be replaced.

        Raises:
            SettingsError: A pair is malformed, a key is short or cannot be sent, two are equal, or there are only
                commas: a server without keys would be open to everyone. The message names no key.
        """
        self._names: dict[bytes, str] = {}
        for place, pair in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
            name, _, key = pair.partition("=")
            if not _NAME.fullmatch(name):
                raise SettingsError(f"{VARIABLE}: pair {place} is not name=key, with a name of A-Z a-z 0-9 . _ -")
            if len(key) < SHORTEST:
                raise SettingsError(f"{VARIABLE}: the key of {name!r} has fewer than {SHORTEST} characters")
            if not _KEY.fullmatch(key):
                raise SettingsError(f"{VARIABLE}: the key of {name!r} has a space, or characters beyond ASCII")
            if (digest := _digest(key)) in self._names:
                raise SettingsError(f"{VARIABLE}: {self._names[digest]!r} and {name!r} have the same key")
            self._names[digest] = name
        if text.strip() and not self._names:
            raise SettingsError(f"{VARIABLE}: no name=key in it: unset it to serve everyone")

    def __bool__(self) -> bool:
        return bool(self._names)

    def name_of(self, offered: Sequence[str]) -> str | None:
        """Return the name of the first offered key that is one of these, in a time that does not depend on which."""
        found = None
        for key in offered:
            digest = _digest(key)
            for known, name in self._names.items():
                if hmac.compare_digest(known, digest):
                    found = found or name
        return found


def _digest(key: str) -> bytes:
    """Return a digest: keys of all lengths take the same time to compare."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class RequireApiKey:
    """ASGI middleware that answers 401 to a request without a known key; pages and health checks need none."""

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        offered = offered_keys(request.headers)
        scope[KEY_NAME] = self._keys.name_of(offered)
        if scope[KEY_NAME] is None and not is_open(scope):
            response = problems.respond(request, MissingApiKey(_reason(offered)), {"www-authenticate": "Bearer"})
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def is_open(scope: Scope) -> bool:
    """Whether a path needs no key; it is compared without the base path."""
    path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
    return path in OPEN or path.startswith(OPEN_BELOW)


def offered_keys(headers: Mapping[str, str]) -> list[str]:
    """Return the keys in `x-api-key` and in `Authorization: Bearer`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return [key for key in (headers.get("x-api-key", ""), bearer) if key]


def _reason(offered: Sequence[str]) -> str:
    if offered:
        return "the API key is not known here"
    return "this server needs an API key: send it as x-api-key, or as Authorization: Bearer"
