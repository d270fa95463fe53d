"""A signed link allows exactly the upload or download that it was signed for."""

import base64
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
import pytest

from heatlens_aws.clients import connect
from heatlens_aws.records import File, FileState
from heatlens_aws.staging import Staging
from tests.support.aws import ID, Account

DATA, OTHER = b"declared" * 12, b"whatever" * 12
FILE = File(
    batch=ID,
    number=7,
    state=FileState.PENDING,
    name="",
    size=len(DATA),
    sha256=hashlib.sha256(DATA).hexdigest(),
    media_type="image/png",
)
KEY, RESULT = f"in/i/{ID}/00007", "out/scan 1+2/overlay.png"


@dataclass(frozen=True)
class Put:
    """A request and the expected status."""

    url: str
    headers: dict[str, str]
    data: bytes = DATA

    def send(self) -> tuple[int, str]:
        response = httpx2.put(self.url, headers=self.headers, content=self.data)
        return response.status_code, response.text.partition("<Code>")[2].partition("</Code>")[0]


@pytest.fixture
def put(aws: Account) -> Put:
    return Put(*aws.staging.upload_link(FILE, KEY, lifetime_s=60))


def checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode("ascii")


def with_header(put: Put, name: str, value: str, data: bytes = DATA) -> Put:
    return Put(put.url, put.headers | {name: value}, data)


def without(put: Put, name: str) -> Put:
    return Put(put.url, {each: value for each, value in put.headers.items() if each != name})


def stored(aws: Account, key: str = KEY) -> list[bytes]:
    """Read the bytes of every version under a key."""
    s3, bucket = aws.clients.s3, aws.settings.bucket
    versions = s3.list_object_versions(Bucket=bucket, Prefix=key).get("Versions", [])
    return [s3.get_object(Bucket=bucket, Key=key, VersionId=each["VersionId"])["Body"].read() for each in versions]


def test_the_declared_upload_is_accepted_once(aws: Account, put: Put) -> None:
    assert [put.send() for _ in range(3)] == [(200, ""), (412, "PreconditionFailed"), (412, "PreconditionFailed")]
    assert stored(aws) == [DATA]


def test_one_of_several_concurrent_uploads_is_accepted(aws: Account, put: Put) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = sorted(status for status, _ in pool.map(lambda _: put.send(), range(8)))

    assert answers[0] == 200
    assert set(answers[1:]) <= {409, 412}
    assert stored(aws) == [DATA]


def test_a_fresh_link_to_an_existing_object_is_rejected(aws: Account, put: Put) -> None:
    put.send()

    assert Put(*aws.staging.upload_link(FILE, KEY, lifetime_s=60)).send() == (412, "PreconditionFailed")


@pytest.mark.parametrize(
    "changed",
    [
        lambda put: with_header(put, "content-length", str(FILE.size - 1), DATA[:-1]),
        lambda put: with_header(put, "content-length", str(FILE.size + 1), DATA + b"."),
        lambda put: with_header(put, "content-type", "text/html"),
        lambda put: with_header(put, "x-amz-checksum-sha256", checksum(OTHER), OTHER),
        lambda put: with_header(put, "if-none-match", "tag"),
        lambda put: without(put, "content-type"),
        lambda put: without(put, "x-amz-checksum-sha256"),
        lambda put: without(put, "if-none-match"),
        lambda put: Put(put.url.replace("/00007?", "/00008?"), put.headers),
        lambda put: Put(put.url.replace("/in/", "/out/"), put.headers),
        lambda put: Put(put.url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"), put.headers),
    ],
    ids=[
        "shorter", "longer", "type", "checksum", "condition", "no type", "no checksum", "no condition", "number",
        "folder", "lifetime",
    ],
)  # fmt: skip
def test_a_request_other_than_the_signed_one_is_rejected(aws: Account, put: Put, changed: Callable[[Put], Put]) -> None:
    assert changed(put).send() == (403, "SignatureDoesNotMatch")
    assert stored(aws, "") == []
    assert put.send() == (200, ""), "the link itself is good"


def test_bytes_of_another_digest_are_refused(aws: Account, put: Put) -> None:
    assert Put(put.url, put.headers, OTHER).send() == (400, "BadDigest")
    assert stored(aws) == []


def test_a_header_that_was_not_signed_is_refused(aws: Account, put: Put) -> None:
    assert with_header(put, "x-amz-meta-name", "Doe").send() == (403, "AccessDenied")
    assert stored(aws) == []


def test_a_link_without_its_signature_is_refused(aws: Account, put: Put) -> None:
    status, _ = Put(put.url.partition("&X-Amz-Signature")[0], put.headers).send()

    assert status in (400, 403)
    assert stored(aws) == []


def test_a_link_for_reading_does_not_write(aws: Account) -> None:
    link = aws.staging.download_link(KEY, lifetime_s=60)

    assert Put(link, {"content-type": "image/png"}).send() == (403, "SignatureDoesNotMatch")
    assert stored(aws) == []


def test_an_upload_link_expires(aws: Account) -> None:
    put = Put(*aws.staging.upload_link(FILE, KEY, lifetime_s=1))
    time.sleep(2.1)

    assert put.send() == (403, "AccessDenied")
    assert stored(aws) == []


def test_a_link_to_the_buckets_own_host_is_good(aws: Account, localstack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from this machine the bucket is in the host's name, which is signed."""
    here = urlsplit(localstack)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://s3.localhost.localstack.cloud:{here.port}")
    staging = Staging(connect(aws.settings).s3, aws.settings.bucket)
    url, headers = staging.upload_link(FILE, KEY, lifetime_s=60)
    host = urlsplit(url).netloc

    assert host.startswith(f"{aws.settings.bucket}.s3.")
    put = Put(url.replace(host, here.netloc), headers | {"host": host})
    assert Put(put.url, put.headers, OTHER).send() == (400, "BadDigest")
    assert put.send() == (200, "")
    assert stored(aws) == [DATA]


def test_a_download_link_reads_one_object(aws: Account) -> None:
    aws.staging.write(RESULT, DATA, "image/png")
    aws.staging.write(RESULT + "2", OTHER, "image/png")
    link = aws.staging.download_link(RESULT, lifetime_s=60)

    answer = httpx2.get(link)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, DATA, "image/png")
    for tampered in (link.replace("overlay.png", "overlay.png2"), link.replace("Expires=60", "Expires=600")):
        assert tampered != link
        assert httpx2.get(tampered).status_code == 403


def test_a_download_link_expires(aws: Account) -> None:
    aws.staging.write(RESULT, DATA, "image/png")
    link = aws.staging.download_link(RESULT, lifetime_s=1)
    assert httpx2.get(link).status_code == 200
    time.sleep(2.1)

    assert httpx2.get(link).status_code == 403
