from typing import Any

import pytest
from fastapi import Request

from heatlens_web.batches.principal import principal
from heatlens_web.errors import UnknownPrincipal

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
