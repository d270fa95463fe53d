"""What both clients know of a server: its address, its headers, and how requests are authorized."""

import os
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx2

from heatlens import __version__
from heatlens.client.errors import ClientError, NoConnection
from heatlens.client.exchange import Step
from heatlens.client.retries import NOT_SENT, RetryRules, retry_rules
from heatlens.client.signing import IamAuth

API = "/api/inference"
CHUNK = 1024 * 1024  # bytes of a download in memory
TIMEOUT_S = 60.0  # without sending or receiving a byte
USER_AGENT = f"heatlens-client/{__version__}"

Authorization = Literal["iam"] | IamAuth | httpx2.Auth | tuple[str, str] | None


class InvalidUrl(ClientError):
    """The address of the server is not a URL."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Address, headers and authorization of one server."""

    url: str
    headers: dict[str, str]
    auth: httpx2.Auth | tuple[str, str] | None
    timeout_s: float
    tries: int
    bare_headers: dict[str, str] = field(default_factory=lambda: {"user-agent": USER_AGENT})

    @classmethod
    def of(
        cls,
        url: str | None,
        *,
        api_key: str | None,
        token: str | None,
        auth: Authorization,
        headers: Mapping[str, str] | None,
        timeout_s: float,
        tries: int,
    ) -> "Connection":
        """Check an address, and put the credentials into headers.

        Raises:
            InvalidUrl: It is not the http or https URL of a host.
            CannotSign: `auth` is `"iam"`, and what signs is missing.
        """
        sent = {"user-agent": USER_AGENT} | dict(headers or {})
        if api_key:
            sent["x-api-key"] = api_key
        if token:
            sent["authorization"] = f"Bearer {token}"
        base = _checked(url or os.environ.get("HEATLENS_URL") or "http://127.0.0.1:8000")
        return cls(base, sent, IamAuth.of(base) if auth == "iam" else auth, timeout_s, tries)

    def arguments(self, *, bare: bool) -> dict[str, Any]:
        """Return the arguments of the httpx client for the server, or for storages, which get no credentials."""
        if bare:
            return {"headers": self.bare_headers, "timeout": self.timeout_s}
        return {
            "base_url": f"{self.url}{API}",
            "headers": self.headers,
            "auth": self.auth,
            "timeout": self.timeout_s,
        }

    @staticmethod
    def build(
        http: httpx2.Client | httpx2.AsyncClient, step: Step, content: Iterable[bytes] | AsyncIterable[bytes] | None
    ) -> httpx2.Request:
        """Build the request of a step; `content` is its opened body."""
        return http.build_request(
            step.method, step.url, headers=step.headers, content=content, json=step.json, files=step.files
        )

    def rules(self, step: Step) -> RetryRules:
        """Return the rules of retrying a step."""
        return retry_rules(step.retryable, repeatable=step.repeatable, tries=self.tries)

    def broken(self, error: httpx2.RequestError, step: Step) -> NoConnection:
        """Make the error of a request that got no answer."""
        where = urlsplit(str(step.url)).netloc if step.bare else self.url
        reached = not isinstance(error, NOT_SENT)
        return NoConnection(f"{where} does not answer ({type(error).__name__})", sent=reached)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port
        fine = False
    if not fine:
        raise InvalidUrl(f"{url} is not a URL of a server: write it as http://HOST:PORT or https://HOST")
    return url.rstrip("/")
