import re

import pytest

from heatlens_aws.object_keys import (
    DROP,
    Lane,
    attempt_prefix,
    drop_prefix,
    manifest_key,
    parse_upload_key,
    results_key,
    upload_key,
    upload_prefix,
)

ID = "01J00000000000000000000000"


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("number", [0, 7, 9999])
def test_an_upload_key_names_its_lane_and_file(lane: Lane, number: int) -> None:
    key = upload_key(lane, ID, number)

    assert parse_upload_key(key) == (lane, ID, number)
    assert key.startswith(upload_prefix(lane, ID))
    assert upload_prefix(lane, ID).startswith(lane.prefix)


def test_no_prefix_of_a_lane_contains_another_because_s3_refuses_such_notifications() -> None:
    prefixes = [*(lane.prefix for lane in Lane), DROP]

    assert [(a, b) for a in prefixes for b in prefixes if a != b and a.startswith(b)] == []


@pytest.mark.parametrize(("files", "lane"), [(1, "interactive"), (500, "interactive"), (501, "bulk")])
def test_the_lane_of_a_batch_follows_from_the_files_that_it_may_have(files: int, lane: str) -> None:
    assert Lane.of_batch(files, interactive_files=500) == lane
    assert Lane.of_batch(files, interactive_files=0) is Lane.BULK


@pytest.mark.parametrize(
    "key",
    [
        f"in/i/{ID}/0000",
        f"in/i/{ID}/000000",
        f"in/i/{ID}/0000a",
        f"in/i/{ID}/0000\u0661",  # a digit, but not one that the server writes
        f"in/i/{ID}/00000\n",
        f"in/i/{ID.lower()}/00000",
        f"in/i/{ID[:-1]}I/00000",
        f"in/i/{ID}0/00000",
        f"/in/i/{ID}/00000",
        f"out/{ID}/00000",
        f"in/{ID}/00000",
        f"in/x/{ID}/00000",
        "",
    ],
)
def test_other_keys_are_not_upload_keys(key: str) -> None:
    assert parse_upload_key(key) is None


def test_a_batchs_objects_lie_under_its_own_prefix() -> None:
    for key in (attempt_prefix(ID, 3, "a"), results_key(ID), manifest_key(ID)):
        assert key.startswith(f"out/{ID}/")
    assert attempt_prefix(ID, 3, "a") == f"out/{ID}/00003/a/"


def test_a_dropped_objects_results_are_found_by_its_key() -> None:
    assert drop_prefix("drop/ward 3/Zoë.png", "v/1", "a") == "out/drop/ward%203%2FZo%C3%AB.png/v%2F1/a/"


def test_dropped_objects_never_share_a_prefix() -> None:
    keys = ["drop/a/b", "drop/a%2Fb", "drop/a", "drop/drop/a", "drop/" + "é" * 500, "drop/" + "é" * 499 + "e"]

    assert len({drop_prefix(key, "v", "a") for key in keys}) == len(keys)


@pytest.mark.parametrize("letter", ["a", "/", "é", "長"])
def test_the_longest_dropped_key_has_a_valid_result_prefix(letter: str) -> None:
    longest = "drop/" + letter * ((1024 - 5) // len(letter.encode()))
    prefix = drop_prefix(longest, "v" * 100, "0" * 26)

    assert len((prefix + "overlay.png").encode()) <= 1024
    assert re.fullmatch(r"out/drop/[^/]+/v+/0+/", prefix)
