"""Identify the caller by what the gateway in front has verified; nothing that a client can write is read."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from heatlens_web.api_keys import key_name
from heatlens_web.errors import UnknownPrincipal

LOCAL = "local"
ANONYMOUS = "anonymous"
_ASSUMED_ROLE = ":assumed-role/"


def principal(request: Request) -> str:
    """Return the caller's principal.

    Returns:
        `jwt <issuer> <subject>`, `iam <ARN>` (of the role where one was assumed), `anonymous` behind a gateway
        without authorization; without a gateway `key <name>` of the API key, or `local` where none is needed.

    Raises:
        UnknownPrincipal: The gateway has an authorizer that names no principal.
    """
    event = request.scope.get("aws.event")
    if event is None:
        name = key_name(request.scope)
        return f"key {name}" if name else LOCAL
    context = _mapping(event.get("requestContext"))
    authorizer = _mapping(context.get("authorizer"))
    # HTTP API and function URL first, then where the REST API has the same.
    claims = _mapping(_mapping(authorizer.get("jwt")).get("claims")) or _mapping(authorizer.get("claims"))
    arn = _mapping(authorizer.get("iam")).get("userArn") or _mapping(context.get("identity")).get("userArn")
    if claims.get("iss") and claims.get("sub"):
        return f"jwt {claims['iss']} {claims['sub']}"
    if arn:
        return f"iam {_role(str(arn))}"
    if authorizer:
        raise UnknownPrincipal("the gateway's authorizer names neither a token's subject nor a role")
    return ANONYMOUS


def _role(arn: str) -> str:
    """Remove the session of an assumed role: its name changes with every login."""
    head, assumed, rest = arn.partition(_ASSUMED_ROLE)
    return f"{head}{assumed}{rest.partition('/')[0]}"


def _mapping(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - an event holds whatever the gateway sent
    return value if isinstance(value, Mapping) else {}
