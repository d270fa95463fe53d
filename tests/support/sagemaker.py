"""A fake asynchronous endpoint: the real server explains the staged object, responses in S3, notices by SNS."""

import json
import re
import threading
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
from starlette.testclient import TestClient

from functions.batch.context import Account
from functions.endpoint.app import create_app
from heatlens_aws.object_keys import ASYNC
from heatlens_aws.sagemaker_async import Endpoint
from heatlens_aws.settings import AwsSettings
from heatlens_web.settings import ServerSettings
from tests.support.staged import Staged

NAME = "heatlens-async"
Json = dict[str, Any]
EVENTS = Path(__file__).parents[1] / "events"


@dataclass
class FakeRuntime:
    """The client `sagemaker-runtime`; its invocations wait until `run`."""

    server: TestClient
    s3: Any
    bucket: str
    asked: list[Json] = field(default_factory=list)
    notices: list[Json] = field(default_factory=list)  # as SageMaker publishes them
    waiting: list[tuple[Json, Json]] = field(default_factory=list)
    delayed: bool = False
    broken: bool = False  # the container dies at every image
    root: str = ASYNC  # of the endpoint's output path
    turn: threading.Lock = field(default_factory=threading.Lock)

    def invoke_endpoint_async(self, **asked: Any) -> Json:  # noqa: ANN401 - as boto3
        conforms(asked)
        self.asked.append(asked)
        # Two inferences of one name are two: each has files of its own.
        name = f"{asked['S3OutputPathExtension']}/{uuid.uuid4()}"
        places = {
            "OutputLocation": f"s3://{self.bucket}/{self.root}{name}.out",
            "FailureLocation": f"s3://{self.bucket}/{self.root}{name}-error.out",
        }
        self.waiting.append((asked, places))
        if not self.delayed:
            self.run()
        return {"InferenceId": asked["InferenceId"]} | places

    def run(self) -> None:
        """Let the container respond to all waiting invocations."""
        with self.turn:  # a worker asks from several threads
            while self.waiting:
                self._answer(*self.waiting.pop(0))

    def _answer(self, asked: Json, places: Json) -> None:
        key = asked["InputLocation"].removeprefix(f"s3://{self.bucket}/")
        data = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        headers = {
            "content-type": asked["ContentType"],
            "accept": asked["Accept"],
            "x-amzn-sagemaker-custom-attributes": asked["CustomAttributes"],
        }
        answer = self.server.post("/invocations", content=data, headers=headers)
        good = answer.is_success and not self.broken
        place = places["OutputLocation" if good else "FailureLocation"]
        body = b"killed" if self.broken else answer.content
        self.s3.put_object(Bucket=self.bucket, Key=place.removeprefix(f"s3://{self.bucket}/"), Body=body)
        self.notices.append(notice(asked, place, answer.headers["content-type"], completed=good))


def conforms(asked: Json) -> None:
    """Check a call's parameters against the lengths and patterns of AWS's own API description, which boto3 does not."""
    client = boto3.client("sagemaker-runtime", region_name="us-east-1")
    described = client.meta.service_model.operation_model("InvokeEndpointAsync").input_shape
    assert set(described.required_members) <= set(asked) <= set(described.members)
    for name, value in asked.items():
        rules = described.members[name].metadata
        assert rules.get("min", 0) <= (len(value) if isinstance(value, str) else value) <= rules.get("max", 2**31), name
        if isinstance(value, str):
            assert value.isascii()
            pattern = rules.get("pattern", "")
            for theirs, ours in ((r"\p{ASCII}", r"[\x00-\x7f]"), (r"\p{Print}", r"\x20-\x7e"), (r"\z", r"\Z")):
                pattern = pattern.replace(theirs, ours)
            assert re.fullmatch(pattern, value), name


def notice(asked: Json, place: str, media_type: str, *, completed: bool) -> Json:
    """Make a notice: the recorded sample with this inference's values."""
    sample: Json = json.loads((EVENTS / f"sagemaker-{'completed' if completed else 'failed'}.json").read_text())
    sample["inferenceId"] = asked["InferenceId"]
    sample["requestParameters"] |= {"inputLocation": asked["InputLocation"], "endpointName": asked["EndpointName"]}
    if completed:
        sample["responseParameters"] = {"contentType": media_type, "outputLocation": place}
    else:
        sample["responseParameters"] = {"failureLocation": place}
    return sample


def enveloped(notice: Json) -> Json:
    """Wrap a notice as SNS does without raw delivery."""
    envelope: Json = json.loads((EVENTS / "sns-envelope.json").read_text())
    return envelope | {"Message": json.dumps(notice)}


def with_endpoint(desk: Staged, tiny_folder: Path) -> FakeRuntime:
    """Give a worker an endpoint."""
    server = TestClient(create_app(ServerSettings(model_dir=tiny_folder)), raise_server_exceptions=False)
    runtime = FakeRuntime(server, desk.aws.clients.s3, desk.aws.settings.bucket)
    settings = desk.aws.settings.model_copy(update={"async_endpoint": NAME})
    desk.context = replace(desk.context, account=connected(desk.context.account, runtime, settings))
    return runtime


def connected(account: Account, runtime: Any, settings: AwsSettings) -> Account:  # noqa: ANN401 - stands for boto3's
    return replace(account, settings=settings, endpoint=Endpoint(runtime, settings))
