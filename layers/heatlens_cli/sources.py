"""List the images of a folder or of an S3 prefix, and read them in chunks."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from heatlens.errors import HeatlensError
from heatlens.settings import MIB, read_table
from heatlens_cli.extras import requires_extra

RESULT_SUFFIX = ".heatmap.png"
_RESULT = re.compile(r"\.heatmap(\.\w+)?\.(png|jpg|webp|dcm)$")  # in any format, and as a DICOM object
MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".avif": "image/avif",
    ".jp2": "image/jp2",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".dcm": "application/dicom",
    ".dicom": "application/dicom",
}
CHUNK = MIB  # bytes of a file in memory at a time
_S3 = "s3://"
_CHANGED = {"412", "PreconditionFailed"}
_GONE = {"404", "NoSuchKey"}


class NoSource(HeatlensError):
    """The images cannot be listed."""


class Unreadable(HeatlensError):
    """One file cannot be read."""

    code = "source.unreadable"


class Changed(Unreadable):
    """One file has changed since it was listed."""

    code = "source.changed"


@dataclass(frozen=True, slots=True)
class Image:
    """One file of a source; `name` is a path with forward slashes, unique there.

    Equal stamps mean that the file has not been written in between, so that its digest is still valid.
    """

    name: str
    size: int
    stamp: str


@dataclass(frozen=True, slots=True)
class RejectedFile:
    """One file that cannot be sent; the others are not affected."""

    name: str
    code: str
    why: str


class Source(Protocol):
    """A place with images."""

    address: str

    def images(self) -> Iterator[Image | RejectedFile]:
        """Yield all images, in no order."""
        ...

    def chunks(self, image: Image) -> Iterator[bytes]:
        """Yield the bytes of one image in chunks of at most `CHUNK` bytes.

        Raises:
            Unreadable: The image does not exist any more, or cannot be read.
        """
        ...


class Folder:
    """A folder with its subfolders, without the heatmaps that an earlier run wrote into `results`."""

    def __init__(self, root: Path, *, results: Path) -> None:
        self.address = str(root.resolve())
        self._root = root
        self._results = results.resolve()

    def images(self) -> Iterator[Image | RejectedFile]:
        errors: list[OSError] = []
        for path in walk_images(self._root, errors):
            if not self._is_result(path):
                yield self._look(path)
        for error in errors:
            yield RejectedFile(self._name(Path(error.filename)) + "/", Unreadable.code, f"{error.strerror}")

    def chunks(self, image: Image) -> Iterator[bytes]:
        try:
            with (self._root / image.name).open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except OSError as error:
            raise Unreadable(f"{error.strerror}") from error

    def _look(self, path: Path) -> Image | RejectedFile:
        name = self._name(path)
        try:
            status = path.stat()
        except OSError as error:
            return RejectedFile(name, Unreadable.code, f"{error.strerror}")
        if not stat.S_ISREG(status.st_mode):
            return RejectedFile(name, Unreadable.code, "not a regular file")
        return Image(name, status.st_size, _stamp(status))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _is_result(self, path: Path) -> bool:
        return bool(_RESULT.search(path.name)) and path.resolve().is_relative_to(self._results)


class Bucket:
    """The objects below a prefix of a bucket, read with the credentials of this machine."""

    def __init__(self, s3: Any, bucket: str, prefix: str) -> None:  # noqa: ANN401 - boto3 has no types
        self.address = f"{_S3}{bucket}/{prefix}"
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix

    def images(self) -> Iterator[Image | RejectedFile]:
        from heatlens_aws.clients import FAILURES

        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        try:
            for page in pages:
                for each in page.get("Contents", []):
                    if _is_image_name(each["Key"]):
                        yield Image(each["Key"].removeprefix(self._prefix), each["Size"], each["ETag"])
        except FAILURES as error:
            raise NoSource(f"{self.address} cannot be listed: {aws_code(error)}") from error

    def chunks(self, image: Image) -> Iterator[bytes]:
        from heatlens_aws.clients import FAILURES

        key = self._prefix + image.name
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=key, IfMatch=image.stamp)
            yield from answer["Body"].iter_chunks(CHUNK)
        except FAILURES as error:
            if aws_code(error) in _CHANGED:
                raise Changed("it was written since it was listed: run the same command again") from error
            raise Unreadable(why_unreadable(self._s3, self._bucket, key, error) or "it is gone") from error


def source_at(address: str, *, results: Path) -> Source:
    """Open the source at an address.

    Raises:
        MissingExtra: The address is in S3 and the extra aws is not installed.
        NoSource: The folder does not exist, or the bucket cannot be read.
    """
    if address.startswith(_S3):
        return _bucket(address)
    if not Path(address).is_dir():
        raise NoSource(f"{address} is not a folder")
    return Folder(Path(address), results=results)


def _bucket(address: str) -> Source:
    with requires_extra("aws", "batch run of an s3:// address"):
        from heatlens_aws.clients import FAILURES, connect
    from heatlens_aws.settings import AwsSettings

    bucket, _, prefix = address.removeprefix(_S3).partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    try:
        s3 = connect(read_table(AwsSettings)).s3
        s3.head_bucket(Bucket=bucket)
    except FAILURES as error:
        raise NoSource(f"{_S3}{bucket} cannot be read: {type(error).__name__}") from error
    return Bucket(s3, bucket, prefix)


def why_unreadable(s3: Any, bucket: str, key: str, error: Exception) -> str | None:  # noqa: ANN401 - boto3 has no types
    """Return why an object cannot be read, or `None` if there is none.

    S3 answers 403 for a missing object where the caller may not list the bucket. So the listing decides, if it may.
    """
    from heatlens_aws.denials import is_denied

    code = aws_code(error)
    if not is_denied(error):
        return None if code in _GONE else code
    if not _may_exist(s3, bucket, key):
        return None
    return f"access is denied ({code}): allow s3:GetObject and s3:ListBucket, and the use of its KMS key"


def _may_exist(s3: Any, bucket: str, key: str) -> bool:  # noqa: ANN401 - boto3 has no types
    """Return whether a bucket lists a key, or does not say."""
    from heatlens_aws.clients import FAILURES

    try:
        page = s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    except FAILURES:
        return True
    return any(each["Key"] == key for each in page.get("Contents", []))


def aws_code(error: Exception) -> str:
    """Return AWS's code of a failure, or the exception's name."""
    response = getattr(error, "response", None) or {}  # of some exceptions it is None
    return str(response.get("Error", {}).get("Code") or type(error).__name__)


def _stamp(status: os.stat_result) -> str:
    # The ctime changes even when a copying tool restores the mtime.
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def walk_images(root: Path, errors: list[OSError]) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders whose suffix is that of an image; collect what cannot be read."""
    for folder, _, names in os.walk(root, onerror=errors.append):
        yield from (Path(folder, name) for name in names if _is_image_name(name))


def _is_image_name(name: str) -> bool:
    return Path(name).suffix.lower() in MEDIA_TYPES
