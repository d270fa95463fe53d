"""Make the events of an object in a bucket: from SQS, from S3 itself and from EventBridge."""

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote_plus

from heatlens_cli.events.http_events import Event

_TIME = "2026-03-12T19:03:58.000Z"
_REGION, _ACCOUNT = "us-east-1", "123456789012"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as S3 reports it; only its digest and size depend on its bytes."""

    bucket: str
    key: str
    data: bytes

    @property
    def etag(self) -> str:
        """ETag of an upload in one part: the MD5 digest, hex."""
        return hashlib.md5(self.data, usedforsecurity=False).hexdigest()


def s3(stored: StoredObject) -> Event:
    """Make an S3 event notification, whose keys are form-encoded."""
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": _REGION,
        "eventTime": _TIME,
        "eventName": "ObjectCreated:Put",
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": stored.bucket, "arn": f"arn:aws:s3:::{stored.bucket}"},
            "object": {
                "key": quote_plus(stored.key, safe="/"),
                "size": len(stored.data),
                "eTag": stored.etag,
                "sequencer": "0065F0A3CE7B0F0C11",
            },
        },
    }
    return {"Records": [record]}


def eventbridge(stored: StoredObject) -> Event:
    """Make S3's event through EventBridge, whose key is not encoded."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": _ACCOUNT,
        "time": _TIME,
        "region": _REGION,
        "resources": [f"arn:aws:s3:::{stored.bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": stored.bucket},
            "object": {"key": stored.key, "size": len(stored.data), "etag": stored.etag},
            "reason": "PutObject",
        },
    }


def sqs(stored: StoredObject) -> Event:
    """Make an SQS event whose message carries S3's event."""
    record = {
        "messageId": str(uuid.uuid4()),
        "receiptHandle": "receipt-handle",
        "body": json.dumps(s3(stored)),
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{_REGION}:{_ACCOUNT}:heatlens",
        "awsRegion": _REGION,
    }
    return {"Records": [record]}


OBJECT_KINDS: dict[str, Callable[[StoredObject], Event]] = {"sqs": sqs, "s3": s3, "eventbridge": eventbridge}
