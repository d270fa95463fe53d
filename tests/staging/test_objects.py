"""Versioned reads and documents written once, with enforced conditions."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from heatlens_aws.staging import Staging, Stored, Superseded
from tests.support.aws import Account

KEY = "drop/scan.png"


def put(aws: Account, data: bytes, key: str = KEY) -> Stored:
    answer = aws.clients.s3.put_object(Bucket=aws.settings.bucket, Key=key, Body=data)
    return Stored(key, answer["VersionId"], answer["ETag"])


def read(aws: Account, stored: Stored) -> bytes:
    return aws.staging.read(stored, max_bytes=100)


def versions(aws: Account, prefix: str) -> int:
    answer = aws.clients.s3.list_object_versions(Bucket=aws.settings.bucket, Prefix=prefix)
    return len(answer.get("Versions", [])) + len(answer.get("DeleteMarkers", []))


def test_an_overwritten_or_deleted_object_is_read_by_its_version(aws: Account) -> None:
    old, new = put(aws, b"old"), put(aws, b"new")
    aws.clients.s3.delete_object(Bucket=aws.settings.bucket, Key=KEY)

    assert (read(aws, old), read(aws, new)) == (b"old", b"new")


def test_without_a_version_only_the_bytes_of_the_event_are_read(aws: Account) -> None:
    old = Stored(KEY, None, put(aws, b"old").etag)
    assert read(aws, old) == b"old"
    put(aws, b"new")

    with pytest.raises(Superseded):
        read(aws, old)


def test_a_version_that_was_erased_is_superseded(aws: Account) -> None:
    stored = put(aws, b"old")
    aws.clients.s3.delete_object(Bucket=aws.settings.bucket, Key=KEY, VersionId=stored.version)

    for gone in (stored, Stored(KEY, None, stored.etag), Stored(KEY)):
        with pytest.raises(Superseded):
            read(aws, gone)


def test_concurrent_calls_write_a_document_once(aws: Account) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: aws.staging.write_once("out/manifest.json", b"{}", "application/json"), range(4)))
    aws.staging.write_once("out/manifest.json", b"other", "application/json")

    assert versions(aws, "out/") == 1
    assert read(aws, Stored("out/manifest.json")) == b"{}"


def test_copying_uses_the_version_and_reports_a_missing_source(aws: Account) -> None:
    old = put(aws, b"old")
    put(aws, b"new")

    assert aws.staging.copy(old, "in/copy")
    assert not aws.staging.copy(Stored("in/nothing"), "in/other")
    assert read(aws, Stored("in/copy")) == b"old"


def test_erasing_leaves_no_version_and_no_marker(aws: Account) -> None:
    for key in ("out/a/1", "out/a/2"):
        put(aws, b"first", key)
        put(aws, b"second", key)
    aws.clients.s3.delete_object(Bucket=aws.settings.bucket, Key="out/a/2")
    kept = put(aws, b"kept", "out/ab")

    Staging(aws.clients.s3, aws.settings.bucket).erase("out/a/")

    assert versions(aws, "out/a/") == 0
    assert read(aws, kept) == b"kept"
