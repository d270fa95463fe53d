import base64
import hashlib
import time
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from botocore.exceptions import ClientError

from heatlens_aws.clients import connect
from heatlens_aws.object_keys import Lane, upload_key
from heatlens_aws.records import File, FileState
from heatlens_aws.staging import Absent, Staging, Stored, Superseded, TooLarge
from tests.chaos.hooks import Wires
from tests.support.aws import Account
from tests.support.denials import Denies, HidesMissing

ID = "01J00000000000000000000000"
SHA256 = hashlib.sha256(b"bytes").hexdigest()
KEY = upload_key(Lane.INTERACTIVE, ID, 7)
FILE = File(batch=ID, number=7, state=FileState.PENDING, name="Doe.png", size=5, sha256=SHA256, media_type="image/png")


def put(aws: Account, data: bytes, key: str = "k") -> Stored:
    answer = aws.clients.s3.put_object(Bucket=aws.settings.bucket, Key=key, Body=data)
    return Stored(key, answer["VersionId"], answer["ETag"])


def refusing(code: str) -> Any:  # noqa: ANN401 - stands for any method
    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": ""}}, "Operation")

    return refuse


def test_an_upload_link_signs_size_type_checksum_and_if_none_match(aws: Account) -> None:
    url, headers = aws.staging.upload_link(FILE, KEY, lifetime_s=600)

    query = parse_qs(urlsplit(url).query)
    signed = set(query["X-Amz-SignedHeaders"][0].split(";"))
    assert signed == {"host", *headers}
    assert {"content-length", "content-type", "x-amz-checksum-sha256", "if-none-match"} == set(headers)
    assert headers["content-length"] == "5"
    assert headers["content-type"] == "image/png"
    assert headers["if-none-match"] == "*"
    assert base64.b64decode(headers["x-amz-checksum-sha256"]).hex() == SHA256
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["600"]
    assert "x-amz-sdk-checksum-algorithm" not in {name.lower() for name in query}


def test_an_upload_link_goes_to_the_regions_own_host_and_the_servers_key(aws: Account) -> None:
    far = connect(aws.settings.model_copy(update={"region": "eu-central-1"}))

    url, _ = Staging(far.s3, "bucket").upload_link(FILE, KEY, lifetime_s=600)

    assert urlsplit(url).netloc == "bucket.s3.eu-central-1.amazonaws.com"
    assert urlsplit(url).path == f"/in/i/{ID}/00007"
    assert "Doe" not in unquote(url)


def test_a_download_link_is_signed_for_its_time(aws: Account) -> None:
    query = parse_qs(urlsplit(aws.staging.download_link("k", lifetime_s=900)).query)

    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["900"]


def test_a_version_is_read_though_a_newer_one_exists(aws: Account) -> None:
    first, second = put(aws, b"first"), put(aws, b"second")

    assert aws.staging.read(first, max_bytes=10) == b"first"
    assert aws.staging.read(second, max_bytes=10) == b"second"
    assert aws.staging.read(Stored("k"), max_bytes=10) == b"second"


def test_reading_replaced_bytes_raises_superseded(aws: Account) -> None:
    first = put(aws, b"first")
    put(aws, b"second")
    aws.clients.s3.delete_object(Bucket=aws.settings.bucket, Key="k", VersionId=first.version)

    for gone in (first, Stored("k", None, first.etag), Stored("never", None, '"e"')):
        with pytest.raises(Superseded):
            aws.staging.read(gone, max_bytes=10)


@pytest.mark.parametrize("code", ["SlowDown", "AccessDenied", "InternalError", "503"])
def test_other_s3_errors_are_raised_as_they_are(aws: Account, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    put(aws, b"bytes")
    monkeypatch.setattr(aws.clients.s3, "get_object", refusing(code))

    with pytest.raises(ClientError):
        aws.staging.read(Stored("k"), max_bytes=10)


@pytest.fixture
def wires(aws: Account) -> Wires:
    return Wires([aws.clients.s3])


def test_a_missing_object_is_gone_whether_s3_answers_404_or_403(aws: Account, wires: Wires) -> None:
    stored, neighbor = put(aws, b"first"), put(aws, b"other", "k2")
    for hooks in ((), (hides := HidesMissing(),)):
        wires.hooks = hooks
        for missing in (Stored("none"), Stored("k", "no-such-version", stored.etag), Stored("none", None, '"0"')):
            with pytest.raises(Absent):
                aws.staging.read(missing, max_bytes=10)
            assert not aws.staging.copy(missing, "copy")
        with pytest.raises(Absent):
            aws.staging.look("none")
        assert aws.staging.read(stored, max_bytes=10) == b"first"
        assert aws.staging.look("k2").stored == neighbor
    assert set(hides.hidden) == {"GetObject", "HeadObject", "CopyObject"}


def test_an_object_whose_delete_marker_is_hidden_is_gone_and_its_version_is_not(aws: Account, wires: Wires) -> None:
    stored = put(aws, b"first")
    aws.clients.s3.delete_object(Bucket=aws.settings.bucket, Key="k")
    wires.hooks = (HidesMissing(),)

    with pytest.raises(Absent):
        aws.staging.read(Stored("k"), max_bytes=10)
    assert aws.staging.read(stored, max_bytes=10) == b"first"


@pytest.mark.parametrize("code", ["AccessDenied", "KMS.DisabledException"])
def test_a_denied_object_is_not_gone(aws: Account, wires: Wires, code: str) -> None:
    stored = put(aws, b"first")
    wires.hooks = (Denies(code=code),)

    for call in (
        lambda: aws.staging.read(stored, max_bytes=10),
        lambda: aws.staging.read(Stored("k"), max_bytes=10),
        lambda: aws.staging.look("k"),
        lambda: aws.staging.copy(stored, "copy"),
    ):
        with pytest.raises(ClientError) as raised:
            call()
        assert raised.value.response["Error"]["Code"] == code


def test_a_missing_object_is_denied_where_the_listing_is_denied_too(aws: Account, wires: Wires) -> None:
    wires.hooks = (HidesMissing(), Denies("ListObjectVersions"))

    with pytest.raises(ClientError, match=r"AccessDenied.*GetObject"):
        aws.staging.read(Stored("none"), max_bytes=10)


def test_a_failure_of_the_listing_is_raised(aws: Account, wires: Wires) -> None:
    wires.hooks = (HidesMissing(), Denies("ListObjectVersions", code="SlowDown"))

    with pytest.raises(ClientError, match="SlowDown"):
        aws.staging.copy(Stored("none"), "copy")


def test_rejects_an_object_over_the_limit(aws: Account) -> None:
    stored = put(aws, b"12345")

    assert aws.staging.read(stored, max_bytes=5) == b"12345"
    with pytest.raises(TooLarge):
        aws.staging.read(stored, max_bytes=4)


def test_writing_returns_the_digest_of_the_object(aws: Account) -> None:
    assert aws.staging.write("k", b"bytes", "image/png") == SHA256

    there = aws.clients.s3.get_object(Bucket=aws.settings.bucket, Key="k")
    assert (there["Body"].read(), there["ContentType"]) == (b"bytes", "image/png")


def test_write_once_keeps_the_existing_object(aws: Account) -> None:
    aws.staging.write_once("k", b"first", "text/plain")
    aws.staging.write_once("k", b"second", "text/plain")

    assert aws.staging.read(Stored("k"), max_bytes=10) == b"first"
    assert len(list(aws.staging.uploaded("k"))) == 1


def test_write_once_raises_on_a_conflicting_write(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws.clients.s3, "put_object", refusing("ConditionalRequestConflict"))

    with pytest.raises(ClientError):
        aws.staging.write_once("k", b"first", "text/plain")


def test_a_listing_has_the_latest_version_and_time_of_each_object(aws: Account) -> None:
    put(aws, b"first", "in/a")
    latest, other = put(aws, b"second", "in/a"), put(aws, b"x", "in/b")
    put(aws, b"deleted", "in/c")
    aws.clients.s3.delete_object(Bucket=aws.settings.bucket, Key="in/c")
    put(aws, b"elsewhere", "out/a")

    listed = list(aws.staging.uploaded("in/"))

    assert listed == [latest, other]
    assert all(each.modified is not None and abs(each.modified - time.time()) < 60 for each in listed)


def test_erasing_deletes_all_versions(aws: Account) -> None:
    put(aws, b"first", "in/a")
    put(aws, b"second", "in/a")
    aws.clients.s3.delete_object(Bucket=aws.settings.bucket, Key="in/a")
    kept = put(aws, b"other", "in2/a")

    aws.staging.erase("in/")

    left = aws.clients.s3.list_object_versions(Bucket=aws.settings.bucket)
    assert [each["VersionId"] for each in left["Versions"]] == [kept.version]
    assert "DeleteMarkers" not in left
