"""Check a Signature Version 4 as AWS does, from the request as it arrived: written from AWS's description."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote


def is_signed(
    method: str, target: str, headers: Mapping[str, str], body: bytes, *, secret: str, region: str, service: str
) -> bool:
    """Return whether the signature in `authorization` is that of the request; names of headers are in lower case."""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=[^/]+/(\d{8}/[^/]+/[^/]+/aws4_request), ?SignedHeaders=([^,]+), ?Signature=(\w+)",
        headers["authorization"],
    )
    assert found, headers["authorization"]
    scope, signed, signature = found.groups()
    assert scope.split("/")[1:3] == [region, service]
    path, _, query = target.partition("?")
    canonical = "\n".join(
        [
            method,
            "/".join(quote(quote(unquote(part), safe="-_.~"), safe="-_.~") for part in path.split("/")),
            "&".join(
                sorted(
                    f"{_encoded(name)}={_encoded(value)}" for name, value in parse_qsl(query, keep_blank_values=True)
                )
            ),
            *(f"{name}:{' '.join(headers[name].split())}" for name in signed.split(";")),
            "",
            signed,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), signature)


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")
