"""Where a wrong option is reported: at its place in the request that has it."""

import pytest

from heatlens.errors import InvalidOption, Mistake
from heatlens_web.problems import InvalidRequest, invalid, located

UNKNOWN = InvalidOption(Mistake("layer", "no such layer", "unknown_layer"), Mistake("alpha", "too large", "le", "2"))


def errors_at(place: tuple[str, ...], *names: str) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised, located((place, names), (("body",), {"alpha", "layer"})):
        raise UNKNOWN
    return raised.value


def test_one_error_has_the_place_of_each_request_that_raises_it() -> None:
    by_header, by_body = errors_at(("header", "x"), "layer"), errors_at(("query",))

    assert [error["loc"] for error in by_header.errors] == [["header", "x", "layer"], ["body", "alpha"]]
    assert [error["loc"] for error in by_body.errors] == [["body", "layer"], ["body", "alpha"]]
    assert by_header.errors[0] == {"loc": ["header", "x", "layer"], "msg": "no such layer", "type": "unknown_layer"}
    assert by_header.detail == UNKNOWN.detail == "layer: no such layer; alpha is 2: too large"


def test_an_error_with_places_keeps_them() -> None:
    error = invalid([{"loc": ("body", "files", 1, "size"), "msg": "Field required", "type": "missing"}])

    with pytest.raises(InvalidRequest) as raised, located((("query",), {"files"})):
        raise error

    assert raised.value is error
    assert error.errors == [{"loc": ["body", "files", 1, "size"], "msg": "Field required", "type": "missing"}]
    assert error.detail == "files.1.size: Field required"


def test_an_option_that_stood_nowhere_is_reported_in_the_query() -> None:
    with pytest.raises(InvalidRequest) as raised, located():
        raise InvalidOption(Mistake("model", "no model", "unknown_model"))

    assert raised.value.errors[0]["loc"] == ["query", "model"]
