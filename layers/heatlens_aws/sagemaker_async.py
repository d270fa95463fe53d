"""Invoke an asynchronous SageMaker endpoint for an attempt at a declared file, and read its notices."""

import re
from dataclasses import dataclass
from typing import Any, Self

from heatlens_aws.object_keys import ASYNC, is_batch_id
from heatlens_aws.settings import AwsSettings

JSON = "application/json"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a declared file; `id` is a ULID as a batch's is."""

    batch: str
    number: int
    id: str

    @property
    def inference_id(self) -> str:
        """Its name for SageMaker, which accepts 64 characters: these are 59 at most."""
        return f"{self.batch}.{self.number}.{self.id}"

    @property
    def folder(self) -> str:
        """Where its response is written, below the endpoint's output path, which is the bucket's `async/`."""
        return f"{self.batch}/{self.number:05d}/{self.id}"

    @classmethod
    def parse(cls, inference_id: object) -> Self | None:
        """Parse an inference's name; `None` where it is not an attempt's."""
        if not isinstance(inference_id, str) or inference_id.count(".") != 2:
            return None
        batch, number, attempt = inference_id.split(".")
        if not (is_batch_id(batch) and is_batch_id(attempt) and re.fullmatch("0|[1-9][0-9]{0,4}", number)):
            return None
        return cls(batch, int(number), attempt)


@dataclass(frozen=True, slots=True)
class Locations:
    """Where SageMaker will write an attempt's response, or the container's error: S3 URIs, or empty."""

    output: str
    failure: str


@dataclass(frozen=True, slots=True)
class Notice:
    """SageMaker's notice of an inference; `attempt` is `None` for a foreign one, `location` may be empty."""

    attempt: Attempt | None
    completed: bool
    location: str


class Endpoint:
    """The endpoint. Safe to share between threads."""

    def __init__(self, runtime: Any, settings: AwsSettings) -> None:  # noqa: ANN401 - boto3 has no types
        self._runtime = runtime
        self._name = settings.async_endpoint
        self._timeout_s, self._ttl_s = settings.async_timeout_s, settings.async_ttl_s

    def invoke(self, attempt: Attempt, location: str, *, media_type: str, attributes: str) -> Locations:
        """Submit one image. A repeated call computes again: SageMaker ignores the inference's name.

        Args:
            attempt: Names the inference and the location of its response.
            location: S3 URI of the image.
            media_type: Of the image, as declared.
            attributes: Options, as the endpoint reads them.
        """
        response = self._runtime.invoke_endpoint_async(
            EndpointName=self._name,
            InputLocation=location,
            ContentType=media_type,
            Accept=JSON,
            CustomAttributes=attributes,
            InferenceId=attempt.inference_id,
            S3OutputPathExtension=attempt.folder,
            InvocationTimeoutSeconds=self._timeout_s,
            RequestTTLSeconds=self._ttl_s,
        )
        return Locations(response.get("OutputLocation", ""), response.get("FailureLocation", ""))


def read_notice(event: Json) -> Notice | None:
    """Read a notice; `None` where the event is of another kind."""
    if event.get("eventSource") != "aws:sagemaker":
        return None
    completed = event.get("invocationStatus") == "Completed"
    name = "outputLocation" if completed else "failureLocation"
    parameters = event.get("responseParameters")
    # The location of a failure has been seen beside the response's parameters as well as among them.
    location = (parameters if isinstance(parameters, dict) else {}).get(name) or event.get(name)
    return Notice(Attempt.parse(event.get("inferenceId")), completed, location if isinstance(location, str) else "")


def response_key(location: str, bucket: str) -> str | None:
    """Return the key of a response; `None` for an object in another bucket or elsewhere in this one."""
    root = f"s3://{bucket}/"
    return location.removeprefix(root) if location.startswith(root + ASYNC) else None
