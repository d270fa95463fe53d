"""Refuse requests whose `Host` header names another host: a page could reach this server by a name of its own."""

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from heatlens_web import problems
from heatlens_web.errors import HostNotAllowed


class AllowedHosts:
    """ASGI middleware that compares the `Host` header with a list; `*.example.org` allows every name below it."""

    def __init__(self, app: ASGIApp, hosts: str) -> None:
        """Wrap an application; `hosts` are separated by commas."""
        self._app = app
        listed = [host.strip().lower() for host in hosts.split(",") if host.strip()]
        self._any = "*" in listed
        self._names = frozenset(listed)
        self._suffixes = tuple(host[1:] for host in listed if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and not self._is_allowed(Request(scope).headers.get("host", "")):
            detail = "the Host header names a host that is not allowed here: see HEATLENS_ALLOWED_HOSTS"
            response = problems.respond(Request(scope), HostNotAllowed(detail))
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_allowed(self, header: str) -> bool:
        name = host_name(header)
        return self._any or name in self._names or name.endswith(self._suffixes)


def host_name(header: str) -> str:
    """Return a `Host` header without its port, in lower case; an IPv6 address keeps its brackets."""
    name = header.strip().lower()
    bracket = name.find("]")
    return name[: bracket + 1] if bracket >= 0 else name.partition(":")[0]
