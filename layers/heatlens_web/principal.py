"""Identify the caller by what the gateway or the server in front has verified, never by what a client can write."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request

from heatlens_web.errors import UnknownPrincipal

LOCAL = "local"
ANONYMOUS = "anonymous"
KEY_NAME = "heatlens.key_name"  # set in the scope, where keys are needed, to the key's name; None without a known key
_ASSUMED_ROLE = ":assumed-role/"


def principal(request: Request) -> str:
    """Return the caller as an owner of batches.

    Returns:
        `jwt <issuer> <subject>`, `iam <ARN>` (of the role where one was assumed), `anonymous` behind a gateway
        without authorization; without a gateway `key <name>` of the API key, or `local` where none is needed.

    Raises:
        UnknownPrincipal: The gateway has an authorizer that names no principal, or no key of this server was sent.
    """
    return _identity(request, _role)


def person(request: Request) -> str | None:
    """Return the caller for the audit: as `principal`, with the session of an assumed role, or None if unknown.

    The name of a session is the person's where people log in, such as the address at IAM Identity Center.
    """
    try:
        return _identity(request, str)
    except UnknownPrincipal:
        return None


def _identity(request: Request, named: Callable[[str], str]) -> str:
    event = request.scope.get("aws.event")
    if event is None:
        return _server_identity(request)
    context = _mapping(event.get("requestContext"))
    authorizer = _mapping(context.get("authorizer"))
    # HTTP API and function URL first, then where the REST API has the same.
    claims = _mapping(_mapping(authorizer.get("jwt")).get("claims")) or _mapping(authorizer.get("claims"))
    arn = _mapping(authorizer.get("iam")).get("userArn") or _mapping(context.get("identity")).get("userArn")
    if claims.get("iss") and claims.get("sub"):
        return f"jwt {claims['iss']} {claims['sub']}"
    if arn:
        return f"iam {named(str(arn))}"
    if authorizer:
        raise UnknownPrincipal("the gateway's authorizer names neither a token's subject nor a role")
    return ANONYMOUS


def _server_identity(request: Request) -> str:
    if KEY_NAME not in request.scope:
        return LOCAL
    if (key := request.scope[KEY_NAME]) is None:
        raise UnknownPrincipal("the request has no API key of this server")
    return f"key {key}"


def _role(arn: str) -> str:
    """Remove the session of an assumed role: its name changes with every login."""
    head, assumed, rest = arn.partition(_ASSUMED_ROLE)
    return f"{head}{assumed}{rest.partition('/')[0]}"


def _mapping(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - an event holds whatever the gateway sent
    return value if isinstance(value, Mapping) else {}
