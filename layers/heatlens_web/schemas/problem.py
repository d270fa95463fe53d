"""The body of every error response."""

from typing import Any

from heatlens_web.schemas.answer import Answer


class Problem(Answer):
    """RFC 9457 problem details; `code` is stable, `errors` is there for 422 only."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[dict[str, Any]] | None = None
