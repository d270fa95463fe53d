"""Read and write S3 objects: signed uploads, versioned reads, results of attempts, documents written once."""

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from heatlens_aws.denials import DENIED, is_denied
from heatlens_aws.records import File

_EXISTS = {"412", "PreconditionFailed"}
_ABSENT = {"NoSuchKey", "NoSuchVersion", "404"}
_NO_REASON = {"404", "403", "400"}  # what a HEAD answers: it has no body that could say why


class Superseded(Exception):
    """The key no longer holds the bytes of an event: a newer event exists, and this one ends."""


class Absent(Superseded):
    """There is no object, not yet or no longer."""


class TooLarge(Exception):
    """The object has more bytes than may be read; none were."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as an event or a listing names it."""

    key: str
    version: str | None = None
    etag: str | None = None
    modified: float | None = field(default=None, compare=False)  # seconds since 1970; only from a listing

    @property
    def identity(self) -> str:
        """What distinguishes these bytes from earlier and later ones under the same key."""
        return self.version or (self.etag or "").strip('"')


@dataclass(frozen=True, slots=True)
class Found:
    """What a key holds; `sha256` (hex) is S3's own, where it has computed one over the whole object."""

    stored: Stored
    size: int
    sha256: str | None


class Staging:
    """The bucket. Safe to share between threads."""

    def __init__(self, s3: Any, bucket: str) -> None:  # noqa: ANN401 - boto3 has no types
        self._s3 = s3
        self.bucket = bucket

    def upload_link(self, file: File, key: str, *, lifetime_s: int) -> tuple[str, dict[str, str]]:
        """Sign a PUT for exactly this file: size, type, checksum, and only while there is no object.

        Returns:
            The URL, and the headers the client must send with it.
        """
        checksum = base64.b64encode(bytes.fromhex(file.sha256)).decode("ascii")
        parameters = {
            "Bucket": self.bucket,
            "Key": key,
            "ContentLength": file.size,
            "ContentType": file.media_type,
            "ChecksumSHA256": checksum,
            "IfNoneMatch": "*",
        }
        url: str = self._s3.generate_presigned_url("put_object", Params=parameters, ExpiresIn=lifetime_s)
        headers = {
            "content-length": str(file.size),
            "content-type": file.media_type,
            "x-amz-checksum-sha256": checksum,
            "if-none-match": "*",
        }
        return url, headers

    def download_link(self, key: str, *, lifetime_s: int) -> str:
        """Sign a GET."""
        parameters = {"Bucket": self.bucket, "Key": key}
        url: str = self._s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=lifetime_s)
        return url

    def read(self, stored: Stored, *, max_bytes: int) -> bytes:
        """Read exactly the bytes that were named.

        Raises:
            Superseded: They are no longer there; `Absent` if there is no object, as the listing says where S3 denies
                access to it.
            TooLarge: There are more than `max_bytes`.
        """
        pinned = {"VersionId": stored.version} if stored.version else {"IfMatch": stored.etag} if stored.etag else {}
        try:
            response = self._s3.get_object(Bucket=self.bucket, Key=stored.key, **pinned)
        except ClientError as error:
            if self._is_absent(error, stored):
                raise Absent(stored.key) from error
            if _code(error) in _EXISTS:
                raise Superseded(stored.key) from error
            raise
        if response["ContentLength"] > max_bytes:
            response["Body"].close()
            raise TooLarge(stored.key)
        data: bytes = response["Body"].read()
        return data

    def look(self, key: str) -> Found:
        """Look up what a key holds now, without reading it.

        Raises:
            Superseded: There is no object.
        """
        try:
            response = self._s3.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            # The response to a HEAD has no error code: a missing bucket looks the same, and must not end the file.
            if _code(error) in _NO_REASON:
                with contextlib.suppress(TooLarge):
                    self.read(Stored(key), max_bytes=0)
            raise
        version = response.get("VersionId")
        stored = Stored(key, version if version != "null" else None, response["ETag"])
        return Found(stored, response["ContentLength"], _hex(response.get("ChecksumSHA256", "")))

    def write(self, key: str, data: bytes, media_type: str) -> str:
        """Write an object and return its sha256 (hex)."""
        self._s3.put_object(Bucket=self.bucket, Key=key, Body=data, ContentType=media_type)
        return hashlib.sha256(data).hexdigest()

    def write_once(self, key: str, data: bytes, media_type: str) -> None:
        """Write a deterministic document unless it exists.

        While another call writes the same object, S3 returns a conflict, which is raised: that call may still fail.
        """
        try:
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=data, ContentType=media_type, IfNoneMatch="*")
        except ClientError as error:
            if _code(error) not in _EXISTS:
                raise

    def copy(self, source: Stored, key: str) -> bool:
        """Copy exactly these bytes to a free key within the bucket, without reading them.

        Returns:
            Whether the key holds them now; `False` means that the source is gone.
        """
        version = {"VersionId": source.version} if source.version else {}
        try:
            self._s3.copy_object(
                Bucket=self.bucket,
                Key=key,
                CopySource={"Bucket": self.bucket, "Key": source.key} | version,
                IfNoneMatch="*",
            )
        except ClientError as error:
            if _code(error) in _EXISTS:
                return True
            if self._is_absent(error, source):
                return False
            raise
        return True

    def _is_absent(self, error: ClientError, stored: Stored) -> bool:
        """Return whether an error says that there is no such object.

        Without the right to list the bucket, S3 answers 403 for a missing key; whether a right with a condition on the
        prefix suffices is not documented. So a 403 means that the object is missing if the listing lacks it. Where the
        listing has it, or is denied too, access to it is denied.
        """
        if _code(error) not in DENIED:
            return _code(error) in _ABSENT
        try:
            return not self._is_listed(stored)
        except ClientError as second_error:
            if is_denied(second_error):
                return False
            raise

    def _is_listed(self, stored: Stored) -> bool:
        """Return whether the listing of versions has this version, or any latest one where none is named."""
        pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=stored.key)
        for page in pages:
            for item in page.get("Versions", []):
                if item["Key"] != stored.key:  # in the order of keys, the key itself comes first
                    return False
                if item["IsLatest"] if stored.version is None else item["VersionId"] == stored.version:
                    return True
        return False

    def uploaded(self, prefix: str) -> Iterator[Stored]:
        """List the latest versions of the objects under a prefix."""
        pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
        for page in pages:
            for item in page.get("Versions", []):
                if item["IsLatest"]:
                    version = item["VersionId"] if item["VersionId"] != "null" else None
                    yield Stored(item["Key"], version, item["ETag"], item["LastModified"].timestamp())

    def erase(self, prefix: str) -> None:
        """Delete all versions of everything under a prefix."""
        for _ in self.erase_portions(prefix):
            pass

    def erase_portions(self, prefix: str) -> Iterator[int]:
        """Delete all versions and delete markers under a prefix, at most 1,000 for each value taken from this iterator.

        Yields:
            How many were deleted.
        """
        pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
        for page in pages:
            versions = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            names = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in versions]
            if names:
                response = self._s3.delete_objects(Bucket=self.bucket, Delete={"Objects": names, "Quiet": True})
                # The call succeeds even where a deletion in it did not.
                for error in response.get("Errors", []):
                    raise ClientError({"Error": error}, "DeleteObjects")
                yield len(names)


def _hex(checksum: str) -> str | None:
    """Decode a base64 checksum; that of a multipart upload ends in a number and is not the object's digest."""
    return base64.b64decode(checksum).hex() if checksum and "-" not in checksum else None


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])
