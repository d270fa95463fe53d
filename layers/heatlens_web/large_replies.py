"""Store a response that is too large to send, and redirect to it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import Response

from heatlens_aws.errors import StagingUnavailable
from heatlens_aws.object_keys import reply_key
from heatlens_aws.settings import AwsSettings
from heatlens_web.access import count_denial
from heatlens_web.errors import AnswerTooLarge
from heatlens_web.related import DICOM, RELATED
from heatlens_web.settings import ServerLimits
from heatlens_web.upload import JSON

if TYPE_CHECKING:  # it loads boto3
    from heatlens_aws.staging import Staging

logger = logging.getLogger(__name__)

_WAYS_OUT_OF_DICOM = "ask for fewer kinds (such as dicom=seg) or classes, or make a staged batch of the image"
_WAYS_OUT = (
    "ask for format=jpeg, leave out the original (include=overlay), ask for the map alone (include=map), or for fewer "
    "DICOM objects, send fewer or smaller files, or make a staged batch of them"
)


@dataclass(frozen=True, slots=True)
class Replies:
    """The storage for such responses. Safe to share between threads."""

    staging: "Staging"
    lifetime_s: int
    failures: tuple[type[Exception], ...]

    def keep(self, request_id: str, answer: Response) -> str:
        """Store a response, byte for byte.

        Returns:
            A presigned address: anyone who has it can read the response until it expires.

        Raises:
            StagingUnavailable: The storage does not respond.
        """
        key = reply_key(request_id)
        try:
            self.staging.write(key, bytes(answer.body), str(answer.media_type))
            return self.staging.download_link(key, lifetime_s=self.lifetime_s)
        except self.failures as error:
            count_denial(error)
            logger.exception("a response could not be stored")
            raise StagingUnavailable(
                "the response is too large to send, and the storage for such responses does not respond: retry",
                retryable=True,
            ) from error


def carry(response: Response, limits: ServerLimits, keep: Callable[[Response], str] | None) -> Response:
    """Return the response, or a redirect to it where it is too large to send.

    Args:
        response: The response.
        limits: The server's.
        keep: Stores a response and returns its address; `None` where there is no storage.

    Raises:
        AnswerTooLarge: The response is too large, and there is no storage.
    """
    limit = limits.answer_json_bytes if response.media_type == JSON else limits.answer_binary_bytes
    if limit is None or 2 * len(response.body) <= limit:  # however many of them are escaped
        return response
    size = carried_bytes(response)
    if size <= limit:
        return response
    if keep is None:
        ways = _WAYS_OUT_OF_DICOM if str(response.media_type).startswith((DICOM, RELATED)) else _WAYS_OUT
        raise AnswerTooLarge(f"the response has {size:,} bytes, this server can send {limit:,}: {ways}")
    facts = {name: value for name, value in response.headers.items() if name.startswith("x-heatlens-")}
    return Response(
        status_code=HTTPStatus.SEE_OTHER, headers={"location": keep(response), "cache-control": "no-store"} | facts
    )


def carried_bytes(response: Response) -> int:
    """Count the bytes sent: Lambda sends a JSON body as a string in JSON, where quotes and backslashes are escaped."""
    body = bytes(response.body)
    return len(body) + (body.count(b'"') + body.count(b"\\") if response.media_type == JSON else 0)


def open_replies(settings: AwsSettings) -> Replies | None:
    """Return the storage where a bucket is configured; only then is boto3 loaded."""
    if not settings.has_bucket:
        return None
    from heatlens_aws.clients import FAILURES, connect
    from heatlens_aws.staging import Staging

    return Replies(Staging(connect(settings).s3, settings.bucket), settings.result_link_s, FAILURES)
