from typing import Any

import pytest
from fastapi import Request
from starlette.types import Receive, Scope, Send

from heatlens_web.api_keys import ApiKeys, RequireApiKey
from heatlens_web.errors import UnknownPrincipal
from heatlens_web.principal import principal
from tests.support.coroutines import awaited

CLAIMS = {"iss": "https://issuer.example", "sub": "alice"}
USER = "arn:aws:iam::123456789012:user/alice"
SESSION = "arn:aws:sts::123456789012:assumed-role/reader/alice-at-nine"
ROLE = "arn:aws:sts::123456789012:assumed-role/reader"


def request(event: object) -> Request:
    return Request({"type": "http", "headers": []} | ({} if event is None else {"aws.event": event}))


def context(**parts: Any) -> dict[str, Any]:  # noqa: ANN401 - parts of an event
    return {"requestContext": parts}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (None, "local"),
        ({}, "anonymous"),
        ({"requestContext": None}, "anonymous"),
        (context(authorizer={"jwt": {"claims": CLAIMS}}), "jwt https://issuer.example alice"),
        (context(authorizer={"claims": CLAIMS}), "jwt https://issuer.example alice"),
        (context(authorizer={"iam": {"userArn": USER}}), f"iam {USER}"),
        (context(identity={"userArn": USER}), f"iam {USER}"),
        (context(authorizer={"iam": {"userArn": SESSION}}), f"iam {ROLE}"),
    ],
)
def test_the_principal_is_what_the_gateway_has_verified(event: object, expected: str) -> None:
    assert principal(request(event)) == expected


@pytest.mark.parametrize("authorizer", [{"lambda": {"user": "alice"}}, {"claims": {"iss": "x"}}])
def test_an_authorizer_without_a_principal_is_an_error(authorizer: dict[str, Any]) -> None:
    with pytest.raises(UnknownPrincipal):
        principal(request(context(authorizer=authorizer)))


def test_without_a_gateway_the_caller_is_the_name_of_the_key() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        callers.append(principal(Request(scope)))

    async def unused(*_: Any) -> Any:  # noqa: ANN401 - nothing is received or sent
        raise AssertionError

    callers: list[str] = []
    keys = ApiKeys(f"ward-3={'k' * 16}")
    scope = {"type": "http", "path": "/api/inference/batches", "headers": [(b"x-api-key", b"k" * 16)]}

    awaited(RequireApiKey(app, keys)(scope, unused, unused))

    assert callers == ["key ward-3"]
