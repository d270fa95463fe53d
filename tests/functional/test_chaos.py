"""Faults at every call and at random -> the invariants hold; with any one protection off the same campaign fails."""

import ast
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from heatlens.model import Model
from tests.chaos import reader
from tests.chaos.__main__ import main
from tests.chaos.faults import Crash, Fault, Faults, Plan
from tests.chaos.hooks import Call
from tests.chaos.protections import Protection
from tests.chaos.reader import Broken
from tests.chaos.run import run
from tests.chaos.summary import Summary
from tests.chaos.turns import FILES, Life, check, in_turn
from tests.chaos.world import World, world
from tests.conftest import ROOT

IMAGES = 60
# What breaks without each protection, and who must come in between to break it.
NEEDED: dict[Protection, tuple[str, int]] = {
    "condition": ("worker", 1),
    "attempts": ("worker", 2),
    "versions": ("overwrite", 2),
}
Json = dict[str, Any]


@contextmanager
def lived(model: Model, counts: Counter[str]) -> Iterator[World]:
    """A world in which one small batch has come to its end."""
    with world(model, 2, counts) as made:
        Life.of(made).live()
        yield made


def test_all_invariants_hold_at_random() -> None:
    summary = run(seed=7, images=IMAGES, troubles=())

    assert summary.holds, summary
    assert summary.counts["images"] == IMAGES
    happened = {name for name in summary.counts if name.startswith(("fault", "event"))}
    assert happened >= {"fault: crash", "fault: throttled", "fault: others in between", "event: doubled"}
    assert summary.counts["duplicates suppressed"] > 0


def test_all_invariants_hold_after_a_crash_at_each_call_in_turn() -> None:
    summary = run(seed=7, images=0, troubles=("crash",))

    assert summary.holds, summary
    calls = summary.counts["in turn: crash"]
    assert summary.counts["fault: crash"] == calls
    assert calls >= 3 + 6 * FILES  # create, declare, close; and of each file: two reads, three objects, the commit


@pytest.mark.parametrize("protection", NEEDED)
def test_without_a_protection_the_campaign_fails(tiny_model: Model, protection: Protection) -> None:
    trouble, invariant = NEEDED[protection]
    summary = Summary("")

    in_turn(tiny_model, 7, summary, trouble, every=3, without=protection)

    assert not summary.holds
    assert f"invariant {invariant}: BROKEN" in str(summary)


@pytest.mark.parametrize(("trouble"), ["worker", "overwrite"])
def test_with_all_protections_the_same_campaign_holds(tiny_model: Model, trouble: str) -> None:
    summary = Summary("")

    in_turn(tiny_model, 7, summary, trouble, every=3)

    assert summary.holds, summary


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
    tree = ast.parse((ROOT / "tests" / "chaos" / "reader.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert imported <= {"base64", "hashlib", "json", "collections", "collections.abc", "dataclasses", "typing"}


def test_the_reader_finds_nothing_in_a_life_without_troubles(tiny_model: Model) -> None:
    summary = Summary("")
    with lived(tiny_model, summary.counts) as made:
        check(made, summary)

    assert summary.broken == []
    assert summary.counts["commits"] == FILES


def first_row(made: World, **wanted: str) -> Json:
    rows = made.raw.dynamodb.scan(TableName=made.account.settings.table)["Items"]
    found: Json = next(row for row in rows if all(row.get(name, {}).get("S") == each for name, each in wanted.items()))
    return found


def put_row(made: World, row: Json) -> None:
    made.raw.dynamodb.put_item(TableName=made.account.settings.table, Item=row)


def put_again(made: World, key: str, data: bytes) -> None:
    """Replace an object as if it had always been so."""
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
    put_again(made, f"in/{batch}/{number}", b"other bytes under the version that was explained")


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
    with lived(tiny_model, summary.counts) as made:
        tamper(made)
        check(made, summary)

    assert summary.invariants == {invariant}, summary


def test_names_that_outlive_a_purge_fail_the_run() -> None:
    summary = Summary("", broken=[Broken(7, "somewhere", "left by a purge")])

    assert not summary.holds
    assert "invariant 7: BROKEN 1 times" in str(summary)
    assert set(reader.INVARIANTS) >= {1, 2, 3, 4, 5}


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST, Fault.CONFLICT])
def test_faults_of_writes_do_not_meet_reads(fault: Fault) -> None:
    faults = Faults(random.Random(0), Counter())

    with faults.step(Plan(at={1: fault})):
        call = Call("dynamodb", "GetItem", {})
        faults.before(call)
        faults.after(call, {})

    assert faults.counts == {"calls": 1}


def test_a_crash_comes_after_its_call_and_only_there() -> None:
    faults = Faults(random.Random(0), Counter())
    calls = [Call("s3", "PutObject", {}) for _ in range(2)]

    with faults.step(Plan(at={2: Fault.CRASH})):
        faults.before(calls[0])
        faults.after(calls[0], {})
        faults.before(calls[1])
        with pytest.raises(Crash):
            faults.after(calls[1], {})
