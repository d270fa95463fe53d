"""Write audit lines to a CloudWatch log group of their own, one call for each line, before the response is sent."""

import logging
import uuid
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from heatlens_aws.settings import AwsSettings

logger = logging.getLogger(__name__)

# A line is written within a request: the log must not hold it for long.
_TIMEOUTS = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2})
_EXISTS = "ResourceAlreadyExistsException"
_GONE = "ResourceNotFoundException"


class AuditLog(logging.Handler):
    """A handler that writes records to one stream of a log group; it may not read or delete any.

    A line that cannot be stored is an error in the log of the process, which has the line. The request goes on.
    """

    def __init__(self, client: Any, group: str, stream: str) -> None:  # noqa: ANN401 - boto3 has no types
        super().__init__()
        self._client, self._group, self._stream = client, group, stream
        self._has_stream = False

    def emit(self, record: logging.LogRecord) -> None:
        """Store one line."""
        message = self.format(record)
        try:
            self._open()
            event = {"timestamp": int(record.created * 1000), "message": message}
            answer = self._client.put_log_events(
                logGroupName=self._group, logStreamName=self._stream, logEvents=[event]
            )
            if rejected := answer.get("rejectedLogEventsInfo"):
                logger.error("the audit line could not be stored: %s: %s", ", ".join(rejected), message)
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"] == _GONE:
                self._has_stream = False  # the group may have been deleted and made again
            logger.error("the audit line could not be stored: %s: %s", type(error).__name__, message)

    def _open(self) -> None:
        """Create the stream of this process once."""
        if self._has_stream:
            return
        try:
            self._client.create_log_stream(logGroupName=self._group, logStreamName=self._stream)
        except ClientError as error:
            if error.response["Error"]["Code"] != _EXISTS:
                raise
        self._has_stream = True


def open_audit_log(settings: AwsSettings) -> AuditLog:
    """Make the handler of this process."""
    client = boto3.client(
        "logs", region_name=settings.region, endpoint_url=settings.endpoint_url or None, config=_TIMEOUTS
    )
    return AuditLog(client, settings.audit_log_group, f"{datetime.now(UTC):%Y/%m/%d}/{uuid.uuid4().hex}")
