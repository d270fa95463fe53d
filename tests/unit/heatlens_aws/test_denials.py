import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from heatlens_aws.denials import is_denied


@pytest.mark.parametrize(
    ("code", "denied"),
    [
        ("AccessDenied", True),
        ("AccessDeniedException", True),  # DynamoDB, SageMaker
        ("403", True),  # of a HEAD
        ("KMS.DisabledException", True),
        ("KMS.KMSInvalidStateException", True),
        ("KmsDisabled", True),  # SQS
        ("KmsThrottled", False),
        ("KMS.ThrottlingException", False),
        ("NoSuchKey", False),
        ("SlowDown", False),
    ],
)
def test_a_policy_and_a_disabled_key_deny_and_nothing_else_does(code: str, denied: bool) -> None:  # noqa: FBT001
    assert is_denied(ClientError({"Error": {"Code": code, "Message": ""}}, "GetObject")) is denied


def test_an_error_without_an_answer_denies_nothing() -> None:
    assert not is_denied(EndpointConnectionError(endpoint_url="https://s3"))
    assert not is_denied(PermissionError())
