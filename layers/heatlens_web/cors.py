"""Configure CORS: which pages of other origins may use the plain server's API."""

from typing import Any

METHODS = ["GET", "HEAD", "POST", "DELETE"]
# What a page may read of a response beside its body.
EXPOSED = [
    "location",
    "retry-after",
    "x-request-id",
    "x-heatlens-label",
    "x-heatlens-explained",
    "x-heatlens-probability",
    "x-heatlens-quality",
    "x-heatlens-familiarity",
    "x-heatlens-model",
    "x-heatlens-notes",
    "x-heatlens-frame",
]


def cors(origins: str) -> dict[str, Any]:
    """Return the middleware's arguments for origins that are separated by commas; `*` is all of them."""
    listed = [origin.strip().rstrip("/") for origin in origins.split(",") if origin.strip()]
    return {"allow_origins": listed, "allow_methods": METHODS, "allow_headers": ["*"], "expose_headers": EXPOSED}
