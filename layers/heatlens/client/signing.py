"""Sign requests with AWS Signature Version 4, for APIs that require IAM."""

import os
import re
from collections.abc import Generator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import httpx2

from heatlens.client.errors import CannotSign

# The services in front of a function, by their hosts; any other host is a custom domain of API Gateway.
_HOSTS = (
    ("execute-api", re.compile(r"\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$")),
    ("lambda", re.compile(r"\.lambda-url\.([a-z0-9-]+)\.on\.aws$")),
)
_SIGNED = ("content-type", "host")


class IamAuth(httpx2.Auth):
    """Signs every try of a request with the credentials of this machine, or with those given.

    Example:
        `Client(url, auth="iam")`, or `Client(url, auth=IamAuth("execute-api", "eu-central-1"))` for a custom domain.
    """

    requires_request_body = True

    def __init__(self, service: str, region: str, credentials: Any = None) -> None:  # noqa: ANN401 - botocore's
        """Prepare to sign.

        Args:
            service: `execute-api` for API Gateway, `lambda` for a function URL.
            region: The API's region.
            credentials: botocore's; by default found as the AWS CLI finds them.

        Raises:
            CannotSign: botocore is not installed, or there are no credentials.
        """
        self.service, self.region = service, region
        self._credentials = credentials or _credentials()

    @classmethod
    def of(cls, url: str) -> "IamAuth":
        """Prepare to sign for the service and region of an address.

        Raises:
            CannotSign: botocore, the credentials, or the region of a custom domain are missing.
        """
        host = urlsplit(url).hostname or ""
        for service, pattern in _HOSTS:
            if found := pattern.search(host):
                return cls(service, found[1])
        region = os.environ.get("AWS_REGION") or _session().get_config_variable("region")  # botocore ignores the first
        if not region:
            raise CannotSign(f"the AWS region of {host} is unknown: set AWS_REGION or AWS_DEFAULT_REGION")
        return cls("execute-api", str(region))

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Sign one try of a request."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request.url = _strictly_encoded(request.url)
        headers = {name: request.headers[name] for name in _SIGNED if name in request.headers}
        plain = AWSRequest(request.method, str(request.url), headers=headers, data=request.content)
        SigV4Auth(self._credentials.get_frozen_credentials(), self.service, self.region).add_auth(plain)
        for name, value in plain.headers.items():
            request.headers[name] = value
        yield request


def _strictly_encoded(url: httpx2.URL) -> httpx2.URL:
    """Encode a query as AWS does before it compares signatures: every character but letters, digits and `-_.~`."""
    if not url.query:
        return url
    pairs = parse_qsl(url.query.decode("ascii"), keep_blank_values=True)
    return url.copy_with(query=urlencode(pairs, quote_via=quote, safe="").encode("ascii"))


def _session() -> Any:  # noqa: ANN401 - botocore has no types
    try:
        from botocore.session import Session
    except ModuleNotFoundError as error:
        raise CannotSign("signing for IAM needs botocore: pip install 'heatlens[client]'") from error
    return Session()


def _credentials() -> Any:  # noqa: ANN401 - botocore has no types
    credentials = _session().get_credentials()
    if credentials is None:
        raise CannotSign("there are no AWS credentials: run aws configure, aws sso login, or set AWS_PROFILE")
    return credentials
