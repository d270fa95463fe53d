"""Store a response that is too large to send, and link to it."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Response

from heatlens_aws.errors import StagingUnavailable
from heatlens_aws.object_keys import reply_key
from heatlens_aws.settings import AwsSettings

if TYPE_CHECKING:  # it loads boto3
    from heatlens_aws.staging import Staging

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Replies:
    """The storage for such responses. Safe to share between threads."""

    staging: "Staging"
    lifetime_s: int
    failures: tuple[type[Exception], ...]

    def keep(self, request_id: str, answer: Response) -> str:
        """Store a response, byte for byte.

        Returns:
            A presigned address: whoever has it can read the response until it expires.

        Raises:
            StagingUnavailable: The storage does not respond.
        """
        key = reply_key(request_id)
        try:
            self.staging.write(key, bytes(answer.body), str(answer.media_type))
            return self.staging.download_link(key, lifetime_s=self.lifetime_s)
        except self.failures as error:
            logger.exception("a response could not be stored")
            raise StagingUnavailable(
                "the response is too large to send, and the storage for such responses does not respond: retry",
                retryable=True,
            ) from error


def open_replies(settings: AwsSettings) -> Replies | None:
    """Return the storage where a bucket is configured; only then is boto3 loaded."""
    if not settings.has_bucket:
        return None
    from heatlens_aws.clients import FAILURES, connect
    from heatlens_aws.staging import Staging

    return Replies(Staging(connect(settings).s3, settings.bucket), settings.result_link_s, FAILURES)
