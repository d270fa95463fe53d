import base64
import json

from heatlens_web.base64_values import Base64Values


def test_json_is_that_with_the_base64_in_it() -> None:
    files = Base64Values()
    first, second = bytes(range(256)), b""
    marks = {"b": files.add(first), "a": files.add(second)}

    filled = files.fill(json.dumps({"a": marks["a"], "é": "ü-0-", "b": marks["b"], "c": None}, ensure_ascii=False))

    expected = {"a": "", "é": "ü-0-", "b": base64.b64encode(first).decode(), "c": None}
    assert filled == json.dumps(expected, ensure_ascii=False).encode()


def test_json_without_a_file_stays_as_it_is() -> None:
    assert Base64Values().fill('{"a": "-0-"}') == b'{"a": "-0-"}'


def test_no_response_has_the_marks_of_another() -> None:
    """Else a client that learned them could have a file of a response copied into a name, or a request fail."""
    first, second = Base64Values(), Base64Values()

    mark = first.add(b"secret")
    second.add(b"other")

    assert second.fill(mark) == mark.encode()
