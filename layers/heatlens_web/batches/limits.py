"""The limits of staged batches that a server reports to its clients."""

from fastapi import Request

from heatlens_aws.settings import STAGED_LIMITS, AwsSettings
from heatlens_web.schemas.batches import BatchLimits


def batch_limits(request: Request) -> BatchLimits | None:
    """Return the limits of the server's staged batches, or None where they are not set up."""
    if request.app.state.batches is None:
        return None
    settings: AwsSettings = request.app.state.batches.settings
    return BatchLimits(
        batch_files=settings.batch_files, call_files=settings.call_files, file_bytes=STAGED_LIMITS.file_bytes
    )
