"""The backfill: its messages as the worker reads them, its failures, and the permissions of its role."""

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from botocore.exceptions import ClientError
from cfnlint.api import lint

from functions.batch.messages import distinct_items, parse_messages
from heatlens_aws.events import Created
from heatlens_aws.object_keys import DROP
from heatlens_aws.staging import Stored
from infra.local_account import sqs_event
from tests.support.asl import Failed, Machine, TaskFailed, evaluate, read
from tests.support.aws import Account
from tests.support.paths import ROOT
from tests.support.policies import Request, allowed
from tests.support.stack import Stack

TEXT = (ROOT / "infra" / "backfill.asl.json").read_text()
DEFINITION = json.loads(TEXT)
STACK = Stack(ROOT / "template.yaml", {"Backfill": "true"})
HEAD, LIST, SEND = (
    f"arn:aws:states:::aws-sdk:{call}" for call in ("s3:headObject", "s3:listObjectsV2", "sqs:sendMessageBatch")
)
KEYS = [
    "drop/a.png",
    "drop/ward 3/a b.png",
    "drop/a+b.png",
    "drop/100%25.png",
    "drop/Müller^Jürgen.dcm",
    "drop/胸部/写真.jpg",
    "drop/quotes\"and'braces{}.png",
    "drop/back\\slash.png",
    "drop/" + "n" * 900,
    "drop/$money {% no %}.png",
    "drop/12.png",
]
MARKERS = ["drop/folder/"]
Json = dict[str, Any]


class Service:
    """Answer the state machine's calls to S3 and SQS from the account in memory."""

    def __init__(self, aws: Account) -> None:
        self.aws = aws
        self.refuses = 0  # number of messages to refuse in the next calls
        self.calls: list[int] = []
        self.hides = False  # whether each HEAD request is answered with 403
        self.may_not_list = False

    def head(self, arguments: Json) -> Json:
        if self.hides:
            raise TaskFailed("S3.S3Exception")  # a 403 of a HEAD request has no body with a name
        try:
            answer = self.aws.clients.s3.head_object(**arguments)
        except ClientError as error:
            raise TaskFailed("S3.NoSuchKeyException") from error
        return {name: answer[name] for name in ("VersionId", "ETag", "ContentLength") if name in answer}

    def list(self, arguments: Json) -> Json:
        if self.may_not_list:
            raise TaskFailed("S3.S3Exception")
        answer = self.aws.clients.s3.list_objects_v2(**arguments)
        return {"Contents": [{"Key": each["Key"]} for each in answer.get("Contents", [])]}

    def send(self, arguments: Json) -> Json:
        entries = arguments["Entries"]
        self.calls.append(len(entries))
        assert 1 <= len(entries) <= 10
        assert sum(len(each["MessageBody"].encode()) for each in entries) < 256 * 1024
        refused, self.refuses = entries[: self.refuses], max(self.refuses - len(entries), 0)
        taken = entries[len(refused) :]
        if taken:
            self.aws.clients.sqs.send_message_batch(QueueUrl=arguments["QueueUrl"], Entries=taken)
        failed = {"Failed": [{"Id": each["Id"], "SenderFault": False} for each in refused]} if refused else {}
        return {"Successful": [{"Id": each["Id"]} for each in taken]} | failed


@pytest.fixture
def service(aws: Account) -> Service:
    return Service(aws)


@pytest.fixture
def machine(aws: Account, service: Service) -> Machine:
    names = {"Partition": "aws", "Bucket": aws.settings.bucket, "QueueUrl": aws.settings.bulk_queue_url}
    return read(TEXT, names, {HEAD: service.head, LIST: service.list, SEND: service.send})


def stored(aws: Account, *keys: str) -> list[Stored]:
    objects = []
    for key in keys:
        answer = aws.clients.s3.put_object(Bucket=aws.settings.bucket, Key=key, Body=key.encode())
        objects.append(Stored(key, answer["VersionId"], answer["ETag"]))
    return objects


def listing(aws: Account, prefix: str = DROP) -> list[Json]:
    """List objects as the item reader does."""
    answer = aws.clients.s3.list_objects_v2(Bucket=aws.settings.bucket, Prefix=prefix)
    return [{"Key": each["Key"], "Etag": each["ETag"], "Size": each["Size"]} for each in answer["Contents"]]


def inventory(*keys: str, encode: Any = quote_plus) -> list[Json]:  # noqa: ANN401 - one of two functions
    """Build rows of an inventory report: every field is text, keys are URL-encoded."""
    return [{"Bucket": "b", "Key": encode(key), "Size": "3"} for key in keys]


def run(machine: Machine, distributed: str, listed: Iterable[Json]) -> None:
    for child, given in machine.children(distributed, listed):
        child.run(given)


def queued(aws: Account) -> list[Created]:
    """Receive all messages of the queue and parse them as the worker does."""
    created = []
    queue = {"QueueUrl": aws.settings.bulk_queue_url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"]}
    while received := aws.clients.sqs.receive_message(**queue).get("Messages"):
        taken = parse_messages(sqs_event(received))
        assert all(message.objects for message in taken)
        created += [item.created for item in distinct_items(taken)]
    return sorted(created, key=lambda each: each.stored.key)


def test_listed_objects_reach_the_worker_like_their_s3_events(aws: Account, machine: Machine, service: Service) -> None:
    expected = stored(aws, *KEYS)
    stored(aws, *MARKERS, "in/x/00000")

    run(machine, "Listed", listing(aws))

    received = queued(aws)
    assert [created.stored for created in received] == sorted(expected, key=lambda each: each.key)
    assert {created.bucket for created in received} == {aws.settings.bucket}
    assert [created.size for created in received] == [len(created.stored.key.encode()) for created in received]
    assert (sum(service.calls), len(service.calls)) == (len(KEYS), 2)


def test_an_object_has_the_same_identity_from_backfill_and_from_its_event(aws: Account, machine: Machine) -> None:
    """Then a repeated backfill does not explain it again."""
    [one] = stored(aws, "drop/a b+c.png")
    record = {
        "eventName": "ObjectCreated:Copy",
        "s3": {
            "bucket": {"name": aws.settings.bucket},
            "object": {"key": quote_plus(one.key, safe="/"), "versionId": one.version, "eTag": one.etag},
        },
    }
    [by_event] = distinct_items(parse_messages({"Records": [record]}))

    run(machine, "Listed", listing(aws))

    received = aws.clients.sqs.receive_message(QueueUrl=aws.settings.bulk_queue_url, AttributeNames=["All"])["Messages"]
    [by_backfill] = distinct_items(parse_messages(sqs_event(received)))
    assert by_backfill.identity == by_event.identity


@pytest.mark.parametrize("encode", [quote_plus, quote], ids=["plus", "percent"])
def test_keys_of_an_inventory_are_decoded(aws: Account, machine: Machine, encode: Any) -> None:  # noqa: ANN401
    expected = stored(aws, *KEYS)

    run(machine, "Inventoried", inventory(*KEYS, *MARKERS, "in/x/00000", "out/y", encode=encode))

    assert [created.stored for created in queued(aws)] == sorted(expected, key=lambda each: each.key)


def test_an_object_deleted_after_the_listing_is_left_out(aws: Account, machine: Machine) -> None:
    stored(aws, "drop/a.png", "drop/b.png")
    listed = listing(aws)
    aws.clients.s3.delete_object(Bucket=aws.settings.bucket, Key="drop/a.png")

    run(machine, "Listed", listed)

    assert [created.stored.key for created in queued(aws)] == ["drop/b.png"]


def test_an_object_deleted_after_the_listing_is_left_out_where_s3_answers_403(
    aws: Account, machine: Machine, service: Service
) -> None:
    stored(aws, *KEYS, *(f"{key}.later" for key in KEYS))
    listed = [each for each in listing(aws) if each["Key"] in KEYS]
    for key in KEYS:
        aws.clients.s3.delete_object(Bucket=aws.settings.bucket, Key=key)
    service.hides = True

    run(machine, "Listed", listed)

    assert queued(aws) == []


@pytest.mark.parametrize("key", KEYS)
def test_a_denied_object_is_not_taken_for_a_deleted_one(
    aws: Account, machine: Machine, service: Service, key: str
) -> None:
    stored(aws, key)
    service.hides = True

    with pytest.raises(Failed, match=r"Heatlens\.Denied"):
        run(machine, "Listed", listing(aws))


def test_an_object_that_can_be_neither_read_nor_listed_fails_the_run(
    aws: Account, machine: Machine, service: Service
) -> None:
    stored(aws, "drop/a.png")
    listed = listing(aws)
    service.hides = service.may_not_list = True

    with pytest.raises(Failed, match=r"S3\.S3Exception"):
        run(machine, "Listed", listed)


def test_without_objects_no_message_is_sent(aws: Account, machine: Machine, service: Service) -> None:
    run(machine, "Inventoried", inventory(*MARKERS, "in/x/00000", "drop/gone.png"))

    assert service.calls == []


def test_only_refused_messages_are_sent_again(aws: Account, machine: Machine, service: Service) -> None:
    stored(aws, "drop/a.png", "drop/b.png", "drop/c.png")
    service.refuses = 2

    run(machine, "Listed", listing(aws))

    assert service.calls == [3, 2]
    assert [created.stored.key for created in queued(aws)] == ["drop/a.png", "drop/b.png", "drop/c.png"]


def test_messages_refused_repeatedly_fail_the_run(aws: Account, machine: Machine, service: Service) -> None:
    stored(aws, "drop/a.png")
    service.refuses = 1000

    with pytest.raises(Failed, match=r"Heatlens\.NotSent"):
        run(machine, "Listed", listing(aws))
    assert service.calls == [1] * 5


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({"prefix": "drop/"}, "Listed"),
        ({"prefix": "drop/2019/ward 3"}, "Listed"),
        ({"manifest": {"bucket": "b", "key": "k/manifest.json"}}, "Inventoried"),
    ],
)
def test_the_input_selects_listing_or_inventory(machine: Machine, given: Json, state: str) -> None:
    assert machine.chosen(given) == state


@pytest.mark.parametrize(
    "given", [{}, {"prefix": ""}, {"prefix": "in/"}, {"prefix": "dropped/"}, {"manifest": {"key": "k"}}]
)
def test_an_input_outside_of_drop_is_refused(machine: Machine, given: Json) -> None:
    with pytest.raises(Failed, match=r"Heatlens\.NothingToDo"):
        machine.chosen(given)


def test_listing_and_inventory_are_processed_alike() -> None:
    listed, inventoried = (DEFINITION["States"][name] for name in ("Listed", "Inventoried"))
    apart = {"Label", "ItemReader", "ItemSelector"}

    assert {name: each for name, each in listed.items() if name not in apart} == {
        name: each for name, each in inventoried.items() if name not in apart
    }


def test_the_readers_pass_on_prefix_and_manifest() -> None:
    listed, inventoried = (DEFINITION["States"][name]["ItemReader"] for name in ("Listed", "Inventoried"))

    assert evaluate(listed["Arguments"], {"prefix": "drop/x"})["Prefix"] == "drop/x"
    assert evaluate(inventoried["Arguments"], {"manifest": {"bucket": "b", "key": "k"}}) == {"Bucket": "b", "Key": "k"}


def test_the_definition_passes_the_linter() -> None:
    given = STACK.properties("BackfillStateMachine")["DefinitionSubstitutions"]
    definition = re.sub(r"\$\{(\w+)\}", lambda match: str(given[match[1]]), TEXT)
    properties = {"RoleArn": "arn:aws:iam::123456789012:role/x", "DefinitionString": definition}
    resources = {"Machine": {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}}
    broken = json.loads(json.dumps(resources).replace('Next\\": \\"AllTaken', 'Follows\\": \\"AllTaken'))

    def rules(resources: Json) -> list[str]:
        return [match.rule.id for match in lint(json.dumps({"Resources": resources}))]

    assert rules(resources) == []
    assert "E3601" in rules(broken)


def test_the_definition_uses_every_substitution() -> None:
    given = STACK.properties("BackfillStateMachine")["DefinitionSubstitutions"]

    assert {name for name in ("Partition", "Bucket", "QueueUrl") if f"${{{name}}}" in TEXT} == set(given)
    assert given["QueueUrl"] == STACK.name("BulkQueue")


def on(action: str, resource: str, **context: str) -> Request:
    return Request(action, resource, {name.replace("_", ":"): value for name, value in context.items()})


BUCKET, QUEUE = STACK.attribute("Bucket.Arn"), STACK.attribute("BulkQueue.Arn")
MAY = [
    on("s3:ListBucket", BUCKET, s3_prefix="drop/2019/"),
    on("s3:ListBucket", BUCKET, s3_prefix="drop/ward 3/a b.png"),
    on("s3:GetObject", f"{BUCKET}/drop/a.png"),
    on("s3:PutObject", f"{BUCKET}/backfill/run/FAILED_0.json"),
    on("sqs:SendMessage", QUEUE),
    on("states:StartExecution", STACK.name("BackfillStateMachine")),
]
MAY_NOT = [
    on("s3:ListBucket", BUCKET, s3_prefix="in/"),
    on("s3:ListBucket", BUCKET),
    on("s3:GetObject", f"{BUCKET}/in/x/00000"),
    on("s3:GetObject", f"{BUCKET}/out/x/manifest.json"),
    on("s3:PutObject", f"{BUCKET}/drop/a.png"),
    on("s3:DeleteObject", f"{BUCKET}/drop/a.png"),
    on("s3:GetObject", "arn:aws:s3:::reports/manifest.json"),
    on("sqs:ReceiveMessage", QUEUE),
    on("lambda:InvokeFunction", STACK.attribute("BatchFunction.Arn")),  # only the queue does that
    on("states:StartExecution", "another"),
]


@pytest.mark.parametrize("request_", MAY, ids=str)
def test_a_backfill_may(request_: Request) -> None:
    assert allowed(request_, STACK.statements("BackfillRole"))


@pytest.mark.parametrize("request_", MAY_NOT, ids=str)
def test_a_backfill_may_not(request_: Request) -> None:
    assert not allowed(request_, STACK.statements("BackfillRole"))


def test_a_backfill_may_read_reports_of_the_inventory_bucket() -> None:
    stack = Stack(ROOT / "template.yaml", {"Backfill": "true", "InventoryBucket": "reports"})

    assert allowed(on("s3:GetObject", "arn:aws:s3:::reports/x/manifest.json"), stack.statements("BackfillRole"))
