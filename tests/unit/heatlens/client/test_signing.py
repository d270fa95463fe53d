"""Requests are signed for IAM as AWS checks it, anew at each try, and never for another host."""

import subprocess
import sys

import pytest
from botocore.credentials import Credentials

from heatlens.client import CannotSign, Client, IamAuth, NotFound
from infra.local_account import CREDENTIALS
from tests.support.faulty_server import Seen, answers, faulty_server
from tests.support.sigv4 import is_signed

SECRET, REGION = "secret-of-the-ward", "eu-central-1"
BUSY = answers(503, b"", retry_after="0")


def checked(seen: Seen, *, service: str = "execute-api", secret: str = SECRET) -> bool:
    return is_signed(seen.method, seen.path, seen.headers, seen.body, secret=secret, region=REGION, service=service)


@pytest.fixture
def auth() -> IamAuth:
    return IamAuth("execute-api", REGION, Credentials("AKID", SECRET, "session-token"))


@pytest.mark.parametrize("target", ["OPACITY", "a b+c,ü", ["dog|cat", "top-2"]])
def test_the_signature_is_that_of_the_request_as_it_arrives(auth: IamAuth, target: str) -> None:
    with (
        faulty_server(None, answers(404, b"")) as server,
        Client(server.url + "/prod", auth=auth) as client,
        pytest.raises(NotFound),
    ):
        client.heatmap(b"image", target=target)

    [seen] = server.seen
    assert seen.headers["x-amz-security-token"] == "session-token"
    assert b"image" in seen.body
    assert checked(seen)
    assert not checked(seen, secret="another")


def test_every_try_is_signed_anew(auth: IamAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatlens.client.retries.FIRST_WAIT_S", 1.1)  # dates have seconds
    with (
        faulty_server(None, BUSY, answers(404, b"")) as server,
        Client(server.url, auth=auth) as client,
        pytest.raises(NotFound),
    ):
        client.health()

    assert len({each.headers["x-amz-date"] for each in server.seen}) == 2
    assert all(map(checked, server.seen))


def test_a_stored_answer_is_not_signed(auth: IamAuth) -> None:
    with faulty_server(None, answers(200, b"{}")) as bucket, faulty_server() as server:
        server.expect(answers(303, location=f"{bucket.url}/reply/1"))
        with Client(server.url, auth=auth) as client:
            client.health()

    [seen] = bucket.seen
    assert not {name for name in seen.headers if name.startswith(("authorization", "x-amz"))}


@pytest.mark.parametrize(
    ("host", "service", "region"),
    [
        ("abc123.execute-api.eu-west-1.amazonaws.com", "execute-api", "eu-west-1"),
        ("abc123.execute-api.cn-north-1.amazonaws.com.cn", "execute-api", "cn-north-1"),
        ("abc123.lambda-url.us-east-2.on.aws", "lambda", "us-east-2"),
        ("heat.hospital.example", "execute-api", "us-east-1"),
    ],
)
def test_service_and_region_are_those_of_the_address(
    host: str, service: str, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)

    auth = IamAuth.of(f"https://{host}/prod")

    assert (auth.service, auth.region) == (service, region)


def test_the_region_of_a_custom_domain_is_that_of_aws_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (CREDENTIALS | {"AWS_REGION": "eu-north-1"}).items():
        monkeypatch.setenv(name, value)

    assert IamAuth.of("https://heat.hospital.example").region == "eu-north-1"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(CannotSign, match="there are no AWS credentials: run aws configure"):
        Client("https://abc123.lambda-url.us-east-2.on.aws", auth="iam")
    with pytest.raises(CannotSign, match=r"the AWS region of heat\.example is unknown: set AWS_REGION"):
        Client("https://heat.example", auth="iam")


def test_only_signing_needs_botocore_and_says_so() -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['botocore', 'botocore.session', 'boto3']))\n"
        "from heatlens.client import Client, CannotSign\n"
        "Client('https://heat.example')\n"
        "try: Client('https://heat.example', auth='iam')\n"
        "except CannotSign as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)

    assert done.stdout == "signing for IAM needs botocore: pip install 'heatlens[client]'\n"
