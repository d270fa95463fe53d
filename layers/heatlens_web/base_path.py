"""Serve the application below a base path: a stage, a mapping of a custom domain, or a proxy's prefix."""

from starlette.types import ASGIApp, Receive, Scope, Send

from heatlens_web.event_kinds import ADDRESS

# First parts of the application's addresses: with the base path `/v1`, `/v1/models` is an address of its own.
ROOTS = frozenset({"", "api", "docs", "openapi.json", "static", "v1", "v2"})
BARE = "heatlens.bare"  # set in the scope if the address is the base path without a slash after it


class BasePath:
    """ASGI middleware that takes the base path off the path, before a route is chosen."""

    def __init__(self, app: ASGIApp, base_path: str) -> None:
        """Wrap an application.

        Args:
            app: The application.
            base_path: What clients see before each path, such as `/v1`; empty where the event says it or there is
                none.
        """
        self._app, self._base_path = app, base_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the base path as the scope's `root_path`."""
        if scope["type"] == "http":
            base, path = self._address(scope)
            scope.update({"root_path": base, "path": base + (path or "/"), BARE: not path})
        await self._app(scope, receive, send)

    def _address(self, scope: Scope) -> tuple[str, str]:
        base, path = (scope.get("aws.event") or {}).get(ADDRESS) or _mounted(scope)
        setting = self._base_path
        below = _below(setting, path)
        if below is not None and below.partition("/")[2].partition("/")[0] in ROOTS:
            return base + setting, below
        # A proxy may take it off itself, as API Gateway does with a mapping.
        return base or setting, path


def _mounted(scope: Scope) -> tuple[str, str]:
    """Split the path of an application that is mounted in another."""
    base, path = scope.get("root_path", ""), scope["path"]
    below = _below(base, path)
    return ("", path) if below is None else (base, below)


def _below(base: str, path: str) -> str | None:
    """Return what follows a base path, `None` if there is no base or the path is another."""
    below = path.removeprefix(base)
    return below if path != below and below[:1] in ("", "/") else None
