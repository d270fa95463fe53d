"""Send security headers with every response, static files and errors included."""

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOTHING = "default-src 'none'; frame-ancestors 'none'"
HEADERS: Mapping[str, str] = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": NOTHING,
    "cache-control": "no-store",  # images and results are patients'
}
REVALIDATED = "no-cache"


def page_headers(bucket_origin: str = "") -> Mapping[str, str]:
    """Return the headers of a page, which loads everything from this server and calls its API.

    Args:
        bucket_origin: Of the bucket that the API redirects large responses to; empty where there is none.
    """
    sources = f"'self' {bucket_origin}".strip()
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src {sources}; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )
    return {"content-security-policy": policy, "cache-control": REVALIDATED}


class SecurityHeaders:
    """ASGI middleware that adds the headers that the application has not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
