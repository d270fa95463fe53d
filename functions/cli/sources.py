"""`DIR` or `s3://BUCKET/PREFIX` -> the images there, by name."""

from pathlib import Path
from typing import Any, Protocol

from heatlens.errors import HeatlensError

RESULT_SUFFIX = ".heatmap.png"
MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
_S3 = "s3://"


class NoSource(HeatlensError):
    """The images cannot be listed."""


class Source(Protocol):
    """Images by name; a name is a path with forward slashes, unique in its source."""

    def names(self) -> list[str]:
        """All images, in order."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of one."""
        ...


class Folder:
    """A folder with its subfolders; what an earlier run wrote into `results` is none of its images."""

    def __init__(self, root: Path, *, results: Path) -> None:
        self._root = root
        self._results = results.resolve()

    def names(self) -> list[str]:
        found = (path for path in self._root.rglob("*") if _is_image(path.name) and path.is_file())
        return sorted(path.relative_to(self._root).as_posix() for path in found if not self._is_result(path))

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def _is_result(self, path: Path) -> bool:
        return path.name.endswith(RESULT_SUFFIX) and path.resolve().is_relative_to(self._results)


class Bucket:
    """The objects under a prefix of a bucket, read with this machine's own credentials."""

    def __init__(self, s3: Any, bucket: str, prefix: str) -> None:  # noqa: ANN401 - boto3 has no types
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix

    def names(self) -> list[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        keys = (each["Key"] for page in pages for each in page.get("Contents", []))
        return sorted(key.removeprefix(self._prefix) for key in keys if _is_image(key))

    def read(self, name: str) -> bytes:
        data: bytes = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read()
        return data


def source_at(address: str, *, results: Path) -> Source:
    """Find the source that an address names.

    Raises:
        NoSource: There is no such folder, or no such bucket that may be listed.
    """
    if address.startswith(_S3):
        return _bucket(address)
    if not Path(address).is_dir():
        raise NoSource(f"{address} is no folder")
    return Folder(Path(address), results=results)


def _bucket(address: str) -> Source:
    from botocore.exceptions import BotoCoreError, ClientError

    from heatlens.settings import read_table
    from heatlens_aws.clients import connect
    from heatlens_aws.settings import AwsSettings

    bucket, _, prefix = address.removeprefix(_S3).partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    try:
        s3 = connect(read_table(AwsSettings)).s3
        s3.head_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        raise NoSource(f"{_S3}{bucket} cannot be read: {type(error).__name__}") from error
    return Bucket(s3, bucket, prefix)


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in MEDIA_TYPES
