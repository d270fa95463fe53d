"""Roles and policies allow every call that the life of a batch makes, and refuse calls that no function may make."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import pytest

from heatlens.model import Model
from heatlens_aws.object_keys import Lane
from infra.local_account import CREDENTIALS, QUEUES
from tests.support.aws import SETTINGS, account
from tests.support.life import Life, live
from tests.support.paths import ROOT
from tests.support.permissions import ENDPOINT, LINK, QUEUE, TABLE
from tests.support.policies import Request, Statement, allowed, listed, matches
from tests.support.sagemaker import NAME
from tests.support.stack import ACCOUNT, EVERYTHING, IMAGE, REGION, TEMPLATE, TEMPLATES, Json, Stack, children, read

BUCKET = f"arn:aws:s3:::{SETTINGS.bucket}"
NAMES = {
    "Bucket": SETTINGS.bucket,
    "Table": SETTINGS.table,
    "InteractiveQueue": QUEUES[Lane.INTERACTIVE],
    "BulkQueue": QUEUES[Lane.BULK],
}
STACK = Stack(TEMPLATE, names=NAMES)
WITH_ENDPOINT = Stack(TEMPLATE, {"EndpointImageUri": IMAGE}, names=NAMES)
ROLES = ("ApiRole", "BatchRole", "SweeperRole")
# Used by the platform on a function's behalf, by S3 itself, or once for each request: no recorded call shows them.
UNSEEN = {"Logs", "Audit", "Receive", "TellMissing", "TellMissingAnswers"}


@dataclass(frozen=True)
class Recorded:
    """The requests that each role's function made."""

    asked_for: dict[str, list[Request]]


@pytest.fixture(scope="module")
def recorded(tiny_model: Model, tiny_folder: Path) -> Iterator[Recorded]:
    with patch.dict(os.environ, CREDENTIALS), account() as aws:
        life = Life(aws, tiny_model, tiny_folder)
        live(life)
        # The stack has its own name for the endpoint.
        endpoint = ENDPOINT + "Heatlens-async"
        invoked = [Request("sagemaker:InvokeEndpointAsync", endpoint) for each in life.runtime.asked]
        assert {each["EndpointName"] for each in life.runtime.asked} == {NAME}
        requests = {
            "ApiRole": life.api.recorder.asked_for,
            "BatchRole": life.batch.recorder.asked_for + invoked,
            "SweeperRole": life.sweeper.recorder.asked_for,
        }
        yield Recorded(requests)


def bucket_policy(stack: Stack) -> list[Statement]:
    statements: list[Statement] = stack.properties("BucketPolicy")["PolicyDocument"]["Statement"]
    return statements


def may(role: str, request: Request, stack: Stack = STACK) -> bool:
    at_bucket = request.resource.startswith(BUCKET)
    return allowed(request, stack.statements(role), bucket_policy(stack) if at_bucket else ())


@pytest.mark.parametrize("role", ROLES)
def test_a_role_allows_every_call_of_its_function(role: str, recorded: Recorded) -> None:
    asked_for = recorded.asked_for[role]

    assert len(asked_for) > 20
    assert sorted({str(each) for each in asked_for if not may(role, each, WITH_ENDPOINT)}) == []


@pytest.mark.parametrize("role", ROLES)
def test_every_permission_of_a_role_is_used(role: str, recorded: Recorded) -> None:
    asked_for = recorded.asked_for[role]

    unused = [
        f"{statement['Sid']}: {action} on {resource}"
        for statement in WITH_ENDPOINT.statements(role)
        if statement["Sid"] not in UNSEEN
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
        if not any(matches(statement | {"Action": action, "Resource": resource}, each) for each in asked_for)
    ]
    assert unused == []


def test_every_granted_prefix_is_listed_by_its_function(recorded: Recorded) -> None:
    for role in ROLES:
        for statement in WITH_ENDPOINT.statements(role):
            prefixes = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", [])
            for prefix in prefixes:
                one = statement | {"Condition": {"StringLike": {"s3:prefix": prefix}}}
                assert any(matches(one, each) for each in recorded.asked_for[role]), (role, statement["Sid"], prefix)


def put(key: str, **context: str) -> Request:
    keys = {"if_none_match": "s3:if-none-match", "copied_from": "s3:x-amz-copy-source"}
    return Request("s3:PutObject", f"{BUCKET}/{key}", LINK | {keys[name]: value for name, value in context.items()})


def on(action: str, key: str) -> Request:
    return Request(f"s3:{action}", f"{BUCKET}/{key}", LINK)


def listing(prefix: str | None, action: str = "ListBucket") -> Request:
    return Request(f"s3:{action}", BUCKET, LINK | ({"s3:prefix": prefix} if prefix is not None else {}))


FORBIDDEN = [
    ("ApiRole", on("GetObject", "drop/a.png")),
    ("ApiRole", on("GetObject", "async/x")),
    ("ApiRole", put("drop/a.png", if_none_match="*")),
    ("ApiRole", put("in/i/x/00000")),  # without the condition
    ("ApiRole", put("in/i/x/00000", copied_from=f"{SETTINGS.bucket}/drop/a.png")),
    ("ApiRole", put("in/i/x/00000", copied_from="elsewhere/in/b/y/00000")),
    ("ApiRole", on("DeleteObjectVersion", "drop/a.png")),
    ("ApiRole", on("DeleteObject", "in/i/x/00000")),  # would only add a delete marker
    ("ApiRole", on("DeleteObjectVersion", "in/i/x/00000")),  # only the sweeper erases
    ("ApiRole", on("DeleteObjectVersion", "out/x/00000")),
    ("ApiRole", Request("dynamodb:DeleteItem", TABLE + SETTINGS.table)),
    ("ApiRole", Request("dynamodb:BatchWriteItem", TABLE + SETTINGS.table)),
    ("ApiRole", listing("drop/", "ListBucketVersions")),
    ("ApiRole", listing("", "ListBucketVersions")),
    ("ApiRole", listing(None, "ListBucketVersions")),
    ("ApiRole", listing(None)),
    ("ApiRole", Request("sqs:SendMessage", QUEUE + "heatlens-bulk")),
    ("ApiRole", Request("sqs:ReceiveMessage", QUEUE + "heatlens-bulk")),
    ("ApiRole", Request("dynamodb:Scan", TABLE + SETTINGS.table)),
    ("ApiRole", Request("dynamodb:DeleteTable", TABLE + SETTINGS.table)),
    ("ApiRole", Request("dynamodb:GetItem", TABLE + "another")),
    ("ApiRole", Request("sagemaker:InvokeEndpointAsync", ENDPOINT + "Heatlens-async")),
    ("BatchRole", put("in/i/x/00000", if_none_match="*")),
    ("BatchRole", put("drop/a.png")),
    ("BatchRole", put("async/x")),
    ("BatchRole", on("DeleteObject", "in/i/x/00000")),
    ("BatchRole", on("DeleteObjectVersion", "in/i/x/00000")),
    ("BatchRole", on("DeleteObjectVersion", "out/x/00000")),
    ("BatchRole", on("DeleteObjectVersion", "drop/a.png")),
    ("BatchRole", on("GetObject", "out/x/manifest.json")),  # it contains the clients' file names
    ("ApiRole", on("DeleteObjectVersion", "reply/x")),
    ("BatchRole", on("GetObject", "reply/x")),
    ("BatchRole", put("reply/x")),
    ("BatchRole", listing(None)),
    *((role, listing(prefix, "ListBucketVersions")) for role in ROLES for prefix in (None, "", "reply/", "o")),
    ("BatchRole", Request("sqs:SendMessage", QUEUE + "heatlens-bulk-dead")),
    ("BatchRole", Request("dynamodb:DeleteItem", TABLE + SETTINGS.table)),
    ("BatchRole", Request("dynamodb:Query", TABLE + SETTINGS.table + "/index/open")),
    ("BatchRole", Request("sagemaker:InvokeEndpointAsync", ENDPOINT + "another")),
    ("SweeperRole", on("GetObject", "drop/a.png")),
    ("SweeperRole", put("in/i/x/00000", if_none_match="*")),
    ("SweeperRole", on("DeleteObjectVersion", "drop/a.png")),
    ("SweeperRole", on("DeleteObject", "in/i/x/00000")),  # would only add a delete marker
    ("SweeperRole", Request("sqs:ReceiveMessage", QUEUE + "heatlens-bulk")),
    ("SweeperRole", Request("sqs:DeleteMessage", QUEUE + "heatlens-bulk")),
    ("SweeperRole", Request("sagemaker:InvokeEndpointAsync", ENDPOINT + "Heatlens-async")),
    *((role, Request("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/x")) for role in ROLES),
    *((role, Request("s3:PutBucketPolicy", BUCKET, LINK)) for role in ROLES),
]


@pytest.mark.parametrize(("role", "request_"), FORBIDDEN, ids=str)
def test_a_function_may_not(role: str, request_: Request) -> None:
    assert not may(role, request_, WITH_ENDPOINT)


@pytest.mark.parametrize("role", ["BatchRole", "SweeperRole"])
def test_without_an_endpoint_no_role_may_use_one(role: str) -> None:
    assert may(role, on("GetObject", "async/x"), WITH_ENDPOINT)
    assert not may(role, on("GetObject", "async/x"), STACK)
    assert not any("sagemaker" in str(each["Action"]) for each in STACK.statements(role))


UPLOAD = put("in/i/x/00000", if_none_match="*")
BAD_LINKS = {
    "old": {"s3:signatureAge": "3600001"},
    "not encrypted": {"aws:SecureTransport": "false"},
    "weakly encrypted": {"s3:TlsVersion": "1.1"},
}


@pytest.mark.parametrize("request_", [UPLOAD, on("GetObject", "out/x/00000/a/map.npy")], ids=str)
@pytest.mark.parametrize("wrong", BAD_LINKS)
def test_a_link_is_refused_if_it_is(wrong: str, request_: Request) -> None:
    assert may("ApiRole", request_)
    assert not may("ApiRole", replace(request_, context={**request_.context, **BAD_LINKS[wrong]}))


def test_a_link_is_accepted_until_its_longest_lifetime() -> None:
    longest = max(SETTINGS.upload_link_s, SETTINGS.result_link_s) * 1000

    assert may("ApiRole", replace(UPLOAD, context={**UPLOAD.context, "s3:signatureAge": str(longest)}))


def test_a_retry_may_copy_uploads_with_or_without_the_condition() -> None:
    source = f"{SETTINGS.bucket}/in/b/y/00001?versionId=v"

    assert may("ApiRole", put("in/i/x/00000", copied_from=source))
    assert may("ApiRole", put("in/i/x/00000", copied_from=source, if_none_match="*"))


def send(source: str, owner: str = ACCOUNT, secure: str = "true") -> Request:
    context = {"aws:SourceArn": source, "aws:SourceAccount": owner, "aws:SecureTransport": secure}
    return Request("sqs:SendMessage", QUEUE, context)


def topic(name: str) -> str:
    return f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}"


@pytest.mark.parametrize(
    ("service", "request_", "expected"),
    [
        ("s3.amazonaws.com", send(BUCKET), True),
        ("s3.amazonaws.com", send("arn:aws:s3:::anothers", owner="210987654321"), False),
        ("s3.amazonaws.com", send(BUCKET, secure="false"), False),
        ("sns.amazonaws.com", send(topic("Heatlens-async-success")), True),
        ("sns.amazonaws.com", send(topic("Heatlens-async-error")), True),
        ("sns.amazonaws.com", send(topic("another")), False),
        ("events.amazonaws.com", send(BUCKET), False),
    ],
)
def test_the_queue_policy_decides_on_messages_of(service: str, request_: Request, *, expected: bool) -> None:
    policy = WITH_ENDPOINT.properties("QueuePolicy")["PolicyDocument"]["Statement"]

    for name in QUEUES.values():
        request = replace(request_, resource=QUEUE + name)
        assert allowed(request, [], policy, service=service) is expected


def test_the_queue_policy_admits_the_topics_of_the_endpoint() -> None:
    child = children(WITH_ENDPOINT)["Endpoint"]
    names = {each["Properties"]["TopicName"] for each in child.resources("AWS::SNS::Topic").values()}
    [statement] = [
        each
        for each in WITH_ENDPOINT.properties("QueuePolicy")["PolicyDocument"]["Statement"]
        if each["Principal"] != "*" and each["Principal"]["Service"] == "sns.amazonaws.com"
    ]

    assert {topic(name) for name in names} == set(statement["Condition"]["ArnEquals"]["aws:SourceArn"])
    assert child.properties("Endpoint")["EndpointName"] == "Heatlens-async"


@pytest.mark.parametrize("kind", ["completed", "failed"])
@pytest.mark.parametrize("lane", Lane)
def test_a_notice_of_the_endpoint_is_delivered_once_to_the_queue_of_its_files_lane(lane: Lane, kind: str) -> None:
    child = children(WITH_ENDPOINT)["Endpoint"]
    notice = json.loads((ROOT / f"tests/events/sagemaker-{kind}.json").read_text())
    location = notice["requestParameters"]["inputLocation"].replace(Lane.INTERACTIVE.prefix, lane.prefix)
    topic = child.name("SuccessTopic" if kind == "completed" else "ErrorTopic")
    subscriptions = [
        each["Properties"]
        for each in child.resources("AWS::SNS::Subscription").values()
        if each["Properties"]["TopicArn"] == topic
    ]
    receivers = [
        each["Endpoint"]
        for each in subscriptions
        for pattern in each["FilterPolicy"]["requestParameters"]["inputLocation"]
        if location.startswith(pattern["prefix"])
    ]

    assert receivers == [QUEUE + QUEUES[lane]]
    assert {each["FilterPolicyScope"] for each in subscriptions} == {"MessageBody"}


def test_the_endpoint_may_read_images_write_answers_and_pull_its_own_image() -> None:
    child = children(WITH_ENDPOINT)["Endpoint"]
    role, policy = child.statements("Role"), bucket_policy(WITH_ENDPOINT)
    registry = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/"

    assert allowed(on("GetObject", "in/i/x/00000"), role, policy)
    assert allowed(put("async/x"), role, policy)
    assert allowed(Request("ecr:BatchGetImage", registry + "team/heatlens"), role)
    assert not allowed(Request("ecr:BatchGetImage", registry + "team/other"), role)
    assert not allowed(put("in/i/x/00000", if_none_match="*"), role, policy)
    assert not allowed(put("out/x/00000"), role, policy)
    assert not allowed(on("GetObject", "out/x/manifest.json"), role, policy)
    assert not allowed(on("GetObject", "drop/a.png"), role, policy)


@pytest.mark.parametrize("digest", ["@sha256:" + "0" * 64, ":1.0-cuda"])
def test_the_endpoint_may_pull_only_from_the_repository_of_its_image(digest: str) -> None:
    child = Stack(
        TEMPLATE.parent / "infra" / "sagemaker.yaml",
        {"Name": "n", "ImageUri": IMAGE.partition(":")[0] + digest, "BucketName": "b"},
    )
    [pull] = [each for each in child.statements("Role") if each["Sid"] == "Pull"]

    assert pull["Resource"] == f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/team/heatlens"


def test_every_role_may_use_the_customer_key_and_no_other() -> None:
    stack = Stack(TEMPLATE, {"CustomerKey": "true", "Backfill": "true", "EndpointImageUri": IMAGE}, names=NAMES)
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/key"

    for role in (*ROLES, "BackfillRole"):
        for action in ("kms:Decrypt", "kms:GenerateDataKey"):
            assert allowed(Request(action, key), stack.statements(role))
            assert not allowed(Request(action, key + "s"), stack.statements(role))
        assert not allowed(Request("kms:ScheduleKeyDeletion", key), stack.statements(role))
    services = [each["Principal"].get("Service", []) for each in stack.properties("Key")["KeyPolicy"]["Statement"]]
    named = {name for each in services for name in listed(each)}
    assert named == {
        "s3.amazonaws.com",
        "sns.amazonaws.com",
        "cloudwatch.amazonaws.com",
        f"logs.{REGION}.amazonaws.com",
    }


# AWS has no narrower resource for these. In the policy of a key or a topic, "*" is that key or topic.
WIDE = {
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "ecr:GetAuthorizationToken",
    "cloudwatch:PutMetricData",
}


def wide_statements(path: Path) -> Iterator[Statement]:
    parameters = read(path)["Parameters"]
    every: Json = {name: "x" for name, each in parameters.items() if "Default" not in each}
    chosen = EVERYTHING | {"ImageUri": IMAGE, "KeyArn": "k"}
    every |= {name: value for name, value in chosen.items() if name in parameters}
    stack = Stack(path, every)
    for resource in stack.resources().values():
        documents = [each["PolicyDocument"] for each in resource["Properties"].get("Policies", [])]
        documents += [resource["Properties"]["PolicyDocument"]] if "PolicyDocument" in resource["Properties"] else []
        for document in documents:
            for statement in document["Statement"]:
                if "*" in listed(statement["Resource"]) or "*" in listed(statement["Action"]):
                    yield statement


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_only_actions_without_narrower_resources_allow_every_resource(path: Path) -> None:
    actions = {action for statement in wide_statements(path) for action in listed(statement["Action"])}

    assert actions <= WIDE
    assert all(statement["Effect"] == "Allow" for statement in wide_statements(path))


def test_the_documented_wide_actions_are_those_of_the_templates() -> None:
    wide = {action for path in TEMPLATES for each in wide_statements(path) for action in listed(each["Action"])}

    assert wide == WIDE
    page = (TEMPLATE.parent / "infra" / "permissions.md").read_text()
    assert [action for action in WIDE if f"`{action}`" not in page] == []


def test_an_unknown_condition_operator_is_an_error() -> None:
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {"DateLessThan": {"a": "b"}}}

    with pytest.raises(KeyError):
        allowed(Request("s3:GetObject", "x", {"a": "b"}), [statement])
