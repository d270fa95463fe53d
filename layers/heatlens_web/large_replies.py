"""An answer that the door cannot carry -> an object in the bucket, and an address to read it from."""

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
    """The place for them. Safe to share between threads."""

    staging: "Staging"
    lifetime_s: int
    failures: tuple[type[Exception], ...]

    def keep(self, request_id: str, answer: Response) -> str:
        """Store an answer, byte for byte.

        Returns:
            An address that whoever has it may read it from, for a while.

        Raises:
            StagingUnavailable: It cannot be stored now.
        """
        key = reply_key(request_id)
        try:
            self.staging.write(key, bytes(answer.body), str(answer.media_type))
            return self.staging.download_link(key, lifetime_s=self.lifetime_s)
        except self.failures as error:
            logger.exception("an answer could not be stored")
            raise StagingUnavailable(
                "the answer is more than this door carries, and the storage for such does not answer: try again",
                retryable=True,
            ) from error


def open_replies(settings: AwsSettings) -> Replies | None:
    """The place for answers where a bucket is named; only then is boto3 loaded."""
    if not settings.has_bucket:
        return None
    from heatlens_aws.clients import FAILURES, connect
    from heatlens_aws.staging import Staging

    return Replies(Staging(connect(settings).s3, settings.bucket), settings.result_link_s, FAILURES)
