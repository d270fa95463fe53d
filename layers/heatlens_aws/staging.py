"""Objects in S3: signed uploads, versioned reads, attempt-scoped results, and documents that are written once."""

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from heatlens_aws.object_keys import upload_key
from heatlens_aws.records import File

_EXISTS = {"412", "PreconditionFailed"}
_ABSENT = {"NoSuchKey", "NoSuchVersion", "404"}
_GONE = _EXISTS | _ABSENT


class Superseded(Exception):
    """The bytes an event spoke of are no longer what the key holds: a newer event exists, this one ends."""


class Absent(Superseded):
    """There is nothing, not yet or no longer."""


class TooLarge(Exception):
    """The object has more bytes than may be read; nothing was."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as an event or a listing names it."""

    key: str
    version: str | None = None
    etag: str | None = None
    modified: float | None = field(default=None, compare=False)  # seconds since 1970; only a listing says it

    @property
    def identity(self) -> str:
        """What tells these bytes from earlier and later ones under the same key."""
        return self.version or (self.etag or "").strip('"')


@dataclass(frozen=True, slots=True)
class Found:
    """What a key holds; `sha256` (hex) is S3's own where it has computed one over the whole object."""

    stored: Stored
    size: int
    sha256: str | None


class Staging:
    """The bucket. Safe to share between threads."""

    def __init__(self, s3: Any, bucket: str) -> None:  # noqa: ANN401 - boto3 has no types
        self._s3 = s3
        self.bucket = bucket

    def upload_link(self, file: File, *, lifetime_s: int) -> tuple[str, dict[str, str]]:
        """Sign a PUT for exactly this file: size, type, checksum, and only while nothing is there.

        Returns:
            The URL, and the headers the client must send with it.
        """
        checksum = base64.b64encode(bytes.fromhex(file.sha256)).decode("ascii")
        parameters = {
            "Bucket": self.bucket,
            "Key": upload_key(file.batch, file.number),
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
        """Read exactly the bytes that were spoken of.

        Raises:
            Superseded: They are no longer there, or `Absent`: nothing is.
            TooLarge: They are more than `max_bytes`.
        """
        pinned = {"VersionId": stored.version} if stored.version else {"IfMatch": stored.etag} if stored.etag else {}
        try:
            answer = self._s3.get_object(Bucket=self.bucket, Key=stored.key, **pinned)
        except ClientError as error:
            if _code(error) in _ABSENT:
                raise Absent(stored.key) from error
            if _code(error) in _GONE:
                raise Superseded(stored.key) from error
            raise
        if answer["ContentLength"] > max_bytes:
            answer["Body"].close()
            raise TooLarge(stored.key)
        data: bytes = answer["Body"].read()
        return data

    def look(self, key: str) -> Found:
        """Say what a key holds now, without reading it.

        Raises:
            Superseded: Nothing.
        """
        try:
            answer = self._s3.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            # A HEAD's answer has no words: a missing bucket looks the same, and is no reason to end anything.
            if _code(error) in _GONE:
                with contextlib.suppress(TooLarge):
                    self.read(Stored(key), max_bytes=0)
            raise
        version = answer.get("VersionId")
        stored = Stored(key, version if version != "null" else None, answer["ETag"])
        return Found(stored, answer["ContentLength"], _hex(answer.get("ChecksumSHA256", "")))

    def write(self, key: str, data: bytes, media_type: str) -> str:
        """Write an object and return its sha256 (hex)."""
        self._s3.put_object(Bucket=self.bucket, Key=key, Body=data, ContentType=media_type)
        return hashlib.sha256(data).hexdigest()

    def write_once(self, key: str, data: bytes, media_type: str) -> None:
        """Write an object unless it is there already, which is as good: such documents are deterministic.

        While another writes the same object S3 answers with a conflict, which is raised: that writer may fail yet.
        """
        try:
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=data, ContentType=media_type, IfNoneMatch="*")
        except ClientError as error:
            if _code(error) not in _EXISTS:
                raise

    def copy(self, source: Stored, key: str) -> bool:
        """Copy exactly these bytes to a key that is not taken, within the bucket and without reading them.

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
            if _code(error) in _GONE:
                return False
            raise
        return True

    def uploaded(self, prefix: str) -> Iterator[Stored]:
        """List what lies under a prefix, latest versions."""
        pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
        for page in pages:
            for each in page.get("Versions", []):
                if each["IsLatest"]:
                    version = each["VersionId"] if each["VersionId"] != "null" else None
                    yield Stored(each["Key"], version, each["ETag"], each["LastModified"].timestamp())

    def erase(self, prefix: str) -> None:
        """Delete all versions of everything under a prefix."""
        pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
        for page in pages:
            found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            names = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
            if names:
                answer = self._s3.delete_objects(Bucket=self.bucket, Delete={"Objects": names, "Quiet": True})
                # The call succeeds even where a deletion in it did not.
                for error in answer.get("Errors", []):
                    raise ClientError({"Error": error}, "DeleteObjects")


def _hex(checksum: str) -> str | None:
    """A checksum in base64; that of an upload in parts has a number behind it, and is not the object's digest."""
    return base64.b64decode(checksum).hex() if checksum and "-" not in checksum else None


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])
