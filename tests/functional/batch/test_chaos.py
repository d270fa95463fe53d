"""With faults at every call and at random the invariants hold; without a protection, or with a mutant, they break."""

import ast
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest

from functions.batch import destinations, worker
from functions.batch import sweep as sweeps
from heatlens.errors import GenerationFailed
from heatlens.model import Model
from heatlens.pipeline import explain
from heatlens.types import Options
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.staging import Staging
from heatlens_aws.tombstones import Tombstones
from heatlens_web.batches import service
from tests.chaos import findings
from tests.chaos.__main__ import main
from tests.chaos.faults import Crash, Fault, Faults, Plan
from tests.chaos.findings import Broken
from tests.chaos.hooks import Call
from tests.chaos.protections import Protection
from tests.chaos.queue import URL
from tests.chaos.run import run
from tests.chaos.summary import Summary
from tests.chaos.turns import LIVES, Life, Turns, check, in_turn, lived
from tests.chaos.world import World, world
from tests.support.paths import ROOT

IMAGES = 60
# What breaks without each protection, and who must come in between to break it.
NEEDED: dict[Protection, tuple[str, int]] = {
    "condition": ("worker", 1),
    "attempts": ("worker", 2),
    "versions": ("overwrite", 2),
}
Json = dict[str, Any]
OPERATIONS = {
    "s3": {"GetObject", "HeadObject", "PutObject", "CopyObject", "ListObjectVersions", "DeleteObjects"},
    "dynamodb": {
        "GetItem",
        "BatchGetItem",
        "PutItem",
        "UpdateItem",
        "Query",
        "TransactWriteItems",
        "BatchWriteItem",
        "DeleteItem",
    },
    "sqs": {"ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "SendMessage"},
    "sagemaker-runtime": {"InvokeEndpointAsync"},
}
A_MESSAGE = json.dumps({"Records": [{"s3": {"object": {"key": "in/a", "eTag": "b"}}}]})
STAGED = ("layers/heatlens_aws", "functions/batch")


@contextmanager
def finished(model: Model, counts: Counter[str], name: str = "closed") -> Iterator[World]:
    """Run one small life to its end and return its world."""
    with world(model, 2, counts) as made:
        Life.of(made, name).live()
        yield made


@pytest.mark.contract("terminal", "digests")
def test_all_invariants_hold_at_random() -> None:
    summary = run(seed=7, images=IMAGES, troubles=())

    assert summary.holds, summary
    assert summary.counts["images"] == IMAGES
    happened = {name for name in summary.counts if name.startswith(("fault", "event"))}
    assert happened >= {"fault: crash", "fault: throttled", "fault: others in between", "event: doubled"}
    assert summary.counts["duplicates suppressed"] > 0


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.BROKEN])
def test_all_invariants_hold_after_a_fault_at_each_call_in_turn(tiny_model: Model, fault: Fault) -> None:
    whole = lived(tiny_model, 7, Summary(""), Turns("dropped", fault))
    summary = run(seed=7, images=0, lives=("dropped",), troubles=(fault,))

    assert summary.holds, summary
    assert summary.counts[f"fault: {fault}"] == summary.counts[f"in turn: {fault}"] == len(whole.places(fault))
    assert fault is not Fault.CRASH or len(whole.places(fault)) == len(whole.met)


def called() -> dict[str, set[str]]:
    """Find the operations that the source of staged batches calls, by service."""
    found: dict[str, set[str]] = {}
    sources = [ROOT / "layers/heatlens_web/batches/service.py"]
    for folder in STAGED:
        sources += (ROOT / folder).glob("*.py")
    text = "".join(each.read_text() for each in sources)
    for client, attribute in (
        ("s3", "_s3"),
        ("dynamodb", "_dynamodb"),
        ("sqs", "sqs"),
        ("sagemaker-runtime", "_runtime"),
    ):
        operations = boto3.client(client, region_name="us-east-1").meta.method_to_api_mapping
        names = set(re.findall(rf"\b{attribute}\.([a-z_]+)", text))
        names |= set(re.findall(rf"\b{attribute}\.get_paginator\(\"(\w+)\"\)", text))
        found[client] = {operations[name] for name in names if name in operations}
    return found


def test_every_aws_operation_is_followed_by_a_crash_in_turn(tiny_model: Model) -> None:
    summary = Summary("")
    met: dict[str, set[str]] = {service: set() for service in OPERATIONS}
    for life in LIVES:
        turns = Turns(life, Fault.CRASH)
        calls = lived(tiny_model, 7, summary, turns).met
        for number, call in enumerate(calls, 1):
            if call.name not in met[call.service]:
                met[call.service].add(call.name)
                lived(tiny_model, 7, summary, turns, number)

    assert met == called() == OPERATIONS
    crashes = {name for name in summary.counts if name.startswith("crash after")}
    assert crashes == {f"crash after {name}" for names in OPERATIONS.values() for name in names}
    assert summary.holds, summary


@pytest.mark.parametrize("protection", NEEDED)
def test_without_a_protection_the_campaign_fails(tiny_model: Model, protection: Protection) -> None:
    trouble, invariant = NEEDED[protection]
    summary = Summary("")

    in_turn(tiny_model, 7, summary, Turns("closed", trouble), every=3, without=protection)

    assert not summary.holds
    assert f"invariant {invariant}: BROKEN" in str(summary)


@pytest.mark.parametrize(
    ("life", "trouble"), [("closed", "worker"), ("closed", "overwrite"), ("endpoint", "overwrite")]
)
def test_with_all_protections_the_same_campaign_holds(tiny_model: Model, life: str, trouble: str) -> None:
    summary = Summary("")

    in_turn(tiny_model, 7, summary, Turns(life, trouble), every=4)

    assert summary.holds, summary


@pytest.mark.parametrize("life", LIVES)
def test_a_life_without_faults_ends_as_expected(tiny_model: Model, life: str) -> None:
    summary = Summary("")

    lived(tiny_model, 7, summary, Turns(life, Fault.CRASH))

    ends = {
        "closed": {"files OK": 3},
        "cancelled and repeated": {"files OK": 2, "files CANCELLED": 1},
        "purged": {},
        "event lost": {"files OK": 1},
        "dropped": {"drops OK": 2},
        "no time for long": {"files OK": 1, "drops OK": 1},
        "never readable": {"files FAILED": 1},
        "unreadable at first": {"files OK": 2},
        "turned away": {"files OK": 1},
        "endpoint": {"files OK": 2, "files FAILED": 1},
    }
    assert summary.broken == []
    assert {name: count for name, count in summary.counts.items() if name.startswith(("files", "drops"))} == ends[life]


def nothing(*_: object, **__: object) -> int:
    return 0


def all_fail(_: Model, uploads: list[object], *__: object, **___: object) -> list[GenerationFailed]:
    return [GenerationFailed("it failed") for _ in uploads]


def other_options(options: Options) -> Options:
    return Options("viridis", 0.9, options.include)


def painted_otherwise(model: Model, uploads: Any, options: Options, **limits: Any) -> Any:  # noqa: ANN401
    """Explain as a worker that uses the first file's options for a whole group."""
    return explain(model, uploads, other_options(options), **limits)


def never_give_up(invocation: Any, task: Any, error: Exception) -> None:  # noqa: ANN401
    invocation._return(task.item, error, task)


def count_as_failure(invocation: Any, tasks: Any) -> None:  # noqa: ANN401
    for task in tasks:
        invocation._fail(task, TimeoutError())


MUTANTS: dict[str, tuple[Any, str, Any, str, int]] = {
    "drops are never explained": (worker, "is_drop", lambda *_: False, "dropped", 11),
    "lost events are never sent again": (sweeps, "send_lost", nothing, "event lost", 10),
    "every image fails": (worker, "explain", all_fail, "closed", 10),
    "files have other options than were asked": (destinations, "_without_original", other_options, "closed", 9),
    "overlays are painted otherwise than they say": (worker, "explain", painted_otherwise, "closed", 9),
    "drops have other options than are promised": (destinations, "_without_original", other_options, "dropped", 9),
    "nobody gives up at the last delivery": (worker._Invocation, "_fail", never_give_up, "never readable", 12),
    "running out of time is a failure": (worker._Invocation, "_postpone", count_as_failure, "no time for long", 10),
    "lost notices are never looked after": (sweeps, "collect_lost", lambda *_, **__: Counter(), "endpoint", 10),
    "closing finds nothing that came": (Staging, "uploaded", lambda *_: iter(()), "closed", 9),
    "closing cancels": (service.BatchService, "close", service.BatchService.cancel, "closed", 10),
    "finished batches stay open": (BatchTable, "finish", nothing, "closed", 4),
    "a purge leaves the objects": (Staging, "erase_portions", lambda *_: iter(()), "purged", 7),
    "a purge leaves the rows": (Tombstones, "erase_files", lambda *_: iter(()), "purged", 7),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_with_a_mutant_the_campaign_fails(tiny_model: Model, monkeypatch: pytest.MonkeyPatch, mutant: str) -> None:
    where, name, other, life, invariant = MUTANTS[mutant]
    monkeypatch.setattr(where, name, other)
    summary = Summary("")

    in_turn(tiny_model, 7, summary, Turns(life, Fault.CRASH), every=25)

    assert invariant in summary.invariants, summary


def test_a_seed_repeats_a_campaign() -> None:
    first, second = (run(seed=11, images=25, troubles=()) for _ in range(2))

    assert first.counts == second.counts


@pytest.mark.parametrize("broken", [[], [Broken(1, "an item", "changed")]])
def test_the_exit_status_says_whether_an_invariant_broke(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: list[Broken]
) -> None:
    monkeypatch.setattr("sys.argv", ["chaos", "--without", "condition"])
    monkeypatch.setattr("logging.disable", lambda _: None)
    monkeypatch.setattr("tests.chaos.run.run", lambda **asked: Summary(asked["without"], broken=broken))

    assert main() == len(broken)
    assert capsys.readouterr().out.startswith("condition")


def test_the_reader_shares_no_code_with_the_writer() -> None:
    standard = {"base64", "hashlib", "io", "json", "math", "collections", "collections.abc", "dataclasses", "typing"}
    standard |= {"PIL", "numpy", "numpy.typing"}
    known, left = set[str](), {"reader"}
    while left:
        known |= left
        tree = ast.parse("".join((ROOT / "tests" / "chaos" / f"{name}.py").read_text() for name in left))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        left = {name.removeprefix("tests.chaos.") for name in imported - standard} - known

    assert known == {"reader", "promises", "paint", "findings", "story"}


def first_row(made: World, **wanted: str) -> Json:
    rows = made.raw.dynamodb.scan(TableName=made.account.settings.table)["Items"]
    found: Json = next(row for row in rows if all(row.get(name, {}).get("S") == each for name, each in wanted.items()))
    return found


def put_row(made: World, row: Json) -> None:
    made.raw.dynamodb.put_item(TableName=made.account.settings.table, Item=row)


def put_again(made: World, key: str, data: bytes) -> None:
    """Replace an object without a trace."""
    made.account.staging.erase(key)
    made.raw.s3.put_object(Bucket=made.bucket.name, Key=key, Body=data)


def a_key(made: World, end: str) -> str:
    return next(stored.key for stored in made.account.staging.uploaded("out/") if stored.key.endswith(end))


def edited(made: World, edit: Callable[[Json], None]) -> None:
    key = a_key(made, "manifest.json")
    manifest = json.loads(made.raw.s3.get_object(Bucket=made.bucket.name, Key=key)["Body"].read())
    edit(manifest)
    put_again(made, key, json.dumps(manifest).encode())


def another_label(made: World) -> None:
    row = first_row(made, SK="F#00000")
    put_row(made, row | {"media_type": {"S": "image/tiff"}})


def another_overlay(made: World) -> None:
    put_again(made, a_key(made, "overlay.png"), b"another attempt's")


def another_upload(made: World) -> None:
    row = first_row(made, state="OK")
    batch, number = row["PK"]["S"].split("#")[1], row["SK"]["S"][2:]
    put_again(made, f"in/i/{batch}/{number}", b"other bytes under the version that was explained")


def one_count_more(made: World) -> None:
    edited(made, lambda manifest: manifest["counts"].update(OK=manifest["counts"].get("OK", 0) + 1))


def an_open_batch(made: World) -> None:
    row = first_row(made, SK="META")
    put_row(made, row | {"PK": {"S": "B#another"}, "state": {"S": "running"}, "open_pk": {"S": "OPEN"}})


def one_file_less(made: World) -> None:
    edited(made, lambda manifest: manifest["files"].pop())


def a_second_manifest(made: World) -> None:
    made.raw.s3.put_object(Bucket=made.bucket.name, Key=a_key(made, "manifest.json"), Body=b"{}")


def a_name_in_a_key(made: World) -> None:
    batch = first_row(made, SK="META")["PK"]["S"].removeprefix("B#")
    name = first_row(made, SK="F#00000")["name"]["S"]
    made.raw.s3.put_object(Bucket=made.bucket.name, Key=f"out/{batch}/{name}", Body=b"")


def a_lost_batch_row(made: World) -> None:
    row = first_row(made, SK="META")
    made.raw.dynamodb.delete_item(TableName=made.account.settings.table, Key={name: row[name] for name in ("PK", "SK")})


@pytest.mark.parametrize(
    ("tamper", "invariant"),
    [
        (another_label, 1),
        (another_overlay, 2),
        (another_upload, 2),
        (one_count_more, 3),
        (an_open_batch, 4),
        (one_file_less, 5),
        (a_second_manifest, 5),
        (a_name_in_a_key, 6),
        (a_lost_batch_row, 7),
    ],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
def test_the_reader_sees_what_was_tampered_with(
    tiny_model: Model, tamper: Callable[[World], None], invariant: int
) -> None:
    summary = Summary("")
    with finished(tiny_model, summary.counts) as made:
        tamper(made)
        check(made, summary)

    assert summary.invariants == {invariant}, summary


def test_names_that_remain_after_a_purge_fail_the_run() -> None:
    summary = Summary("", broken=[Broken(7, "somewhere", "left by a purge")])

    assert not summary.holds
    assert "invariant 7: BROKEN 1 times" in str(summary)
    assert set(findings.INVARIANTS) >= {1, 2, 3, 4, 5}


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST, Fault.BROKEN, Fault.CONFLICT])
def test_write_faults_do_not_affect_reads(fault: Fault) -> None:
    faults = Faults(random.Random(0), Counter())

    with faults.step(Plan(at={1: fault})):
        call = Call("dynamodb", "GetItem", {})
        faults.before(call)
        faults.after(call, {})

    assert faults.counts == {"calls": 1}


def test_a_crash_happens_right_after_its_call() -> None:
    faults = Faults(random.Random(0), Counter())
    calls = [Call("s3", "PutObject", {}) for _ in range(2)]

    with faults.step(Plan(at={2: Fault.CRASH})):
        faults.before(calls[0])
        faults.after(calls[0], {})
        faults.before(calls[1])
        with pytest.raises(Crash):
            faults.after(calls[1], {})


def test_the_client_library_retries_a_broken_connection(tiny_model: Model) -> None:
    """Not a write that its answer's loss ends: the service does the same twice, and the product hears of it once."""
    counts = Counter[str]()
    with world(tiny_model, 1, counts) as made:
        key = {"PK": {"S": "a"}, "SK": {"S": "b"}}
        with made.faults.step(plan := Plan(at={1: Fault.BROKEN, 2: Fault.BROKEN})):
            made.account.jobs._dynamodb.update_item(
                TableName=made.account.settings.table,
                Key=key,
                UpdateExpression="ADD counted :one",
                ExpressionAttributeValues={":one": {"N": "1"}},
            )
            made.account.sqs.send_message(QueueUrl=URL, MessageBody=A_MESSAGE, MessageAttributes={})
        [row] = made.raw.dynamodb.scan(TableName=made.account.settings.table)["Items"]

    assert row["counted"] == {"N": "2"}
    assert len(made.queue) == 2
    assert (len(plan.met), counts["fault: asked twice"]) == (2, 2)
