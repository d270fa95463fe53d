import json

import pytest

from heatlens_web.repeated import repeated_details, repeated_keys

PLACE = ("body",)
IMAGE = b"A" * 5000


def names(text: bytes) -> list[str]:
    return [detail["loc"][-1] for detail in repeated_keys(text, place=PLACE)]


@pytest.mark.parametrize(
    "text",
    [
        b'{"alpha": 0.3, "image": "%s", "alpha": 0.5}' % IMAGE,
        b'{"alpha": 0.3, "alpha": 0.3}',
        b'{"alpha": 0.3, "\\u0061lpha": 0.5}',
        b'{"images": [{"alpha": "%s", "alpha": "x"}]}' % IMAGE,
        b'{"name": "\\\\", "alpha": 1, "alpha": 2}',
        b'{"name": "\\"%s\\"", "alpha": 1, "alpha": 2}' % IMAGE,
    ],
)
def test_a_key_that_stands_twice_is_found(text: bytes) -> None:
    assert names(text) == ["alpha"]
    [detail] = repeated_keys(text, place=PLACE)
    assert detail == {"loc": ("body", "alpha"), "msg": "given more than once: send one value", "type": "repeated"}


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"",
        b"not JSON",
        b'{"images": [{"name": "a"}, {"name": "a"}], "name": "a"}',
        b'{"a": "\\"a\\": 1, \\"a\\": 2"}',
        json.dumps({"a": '"a": 1, "a": 2' * 1000}).encode(),
        b'{"a": "unfinished',
        b"[" * 100_000,
        b"9" * 5000,
    ],
)
def test_other_documents_have_none(text: bytes) -> None:
    assert names(text) == []


def test_only_as_much_is_read_as_options_take() -> None:
    for text in (
        b'["",' * 300_000,
        b'{"a": [' + b"1," * 600_000 + b'1], "a": 1}',
        b'{"a": "' + b'\\"' * 300_000 + b'"}',
    ):
        assert names(text) == []


def test_only_lists_may_stand_several_times() -> None:
    details = repeated_details(["alpha", "target", "alpha", "target"], {"target"}, place=("query",))

    assert [detail["loc"] for detail in details] == [("query", "alpha")]
