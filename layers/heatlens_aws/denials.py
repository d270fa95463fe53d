"""Recognize that AWS denies access: a policy or a KMS key is wrong, which no retry and no other file repairs."""

from botocore.exceptions import ClientError

DENIED = {"AccessDenied", "AccessDeniedException", "403", "Forbidden"}
_KEY = "kms"  # S3 answers KMS.DisabledException, SQS KmsDisabled, for a key that is disabled or is to be deleted
_BUSY = "throttl"  # KMS has a limit of requests: it passes


def is_denied(error: BaseException) -> bool:
    """Return whether an error says that the role may not do this, or that the key cannot be used."""
    if not isinstance(error, ClientError):
        return False
    code = str(error.response["Error"]["Code"])
    return code in DENIED or (code.lower().startswith(_KEY) and _BUSY not in code.lower())
