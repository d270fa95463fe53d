"""Let S3 deny access, as for a missing key without the right to list, or for an object whose KMS key is disabled."""

from typing import Any

from botocore.exceptions import ClientError

from tests.chaos.hooks import Call, Hook, Json

READS = {"GetObject", "HeadObject", "CopyObject"}
ABSENT = {"NoSuchKey", "NoSuchVersion", "404"}


class HidesMissing(Hook):
    """Answer 403 instead of 404 for a missing object, as S3 does without the right to list the bucket."""

    def __init__(self) -> None:
        self.hidden: list[str] = []

    def after(self, call: Call, answer: Json) -> None:
        if call.name in READS and answer.get("Error", {}).get("Code") in ABSENT:
            self.hidden.append(call.name)
            answer["Error"]["Code"] = "403" if call.name == "HeadObject" else "AccessDenied"
            answer["ResponseMetadata"]["HTTPStatusCode"] = 403


class Denies(Hook):
    """Deny some operations on existing objects while `active`; a missing object is missing all the same."""

    def __init__(self, *names: str, code: str = "AccessDenied") -> None:
        self.active = True
        self.denied: list[str] = []
        self._names, self._code = set(names) or READS, code

    def before(self, call: Call) -> None:
        if call.name not in READS:
            self._deny(call)

    def after(self, call: Call, answer: Json) -> None:
        if "Error" not in answer:
            self._deny(call)

    def _deny(self, call: Call) -> None:
        if self.active and call.name in self._names:
            self.denied.append(call.name)
            # The answer to a HEAD has no body, so no code either.
            raise denial("403" if call.name == "HeadObject" else self._code, call.name)


def denial(code: str = "AccessDenied", operation: str = "GetObject") -> ClientError:
    """Make the error that boto3 raises."""
    response: Any = {"Error": {"Code": code, "Message": "planned"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    return ClientError(response, operation)
