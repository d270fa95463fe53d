from hmac import compare_digest

import pytest

from heatlens.errors import SettingsError
from heatlens_web.api_keys import ApiKeys, is_open, offered_keys

ONE, TWO, THREE = "1" * 16, "2" * 20, "3" * 16


def test_the_name_of_a_key_is_found_and_of_others_there_is_none() -> None:
    keys = ApiKeys(f" a={ONE}, b={TWO},,a={THREE}")

    assert [keys.name_of([key]) for key in (ONE, TWO, THREE)] == ["a", "b", "a"]
    assert keys.name_of(["wrong", TWO]) == "b"
    assert keys.name_of([]) is None
    assert keys.name_of([ONE[:-1]]) is None
    assert keys.name_of(["ü" * 20]) is None


def test_a_key_may_have_the_characters_of_base64() -> None:
    assert ApiKeys("a=abc+/def==ghijklmn==").name_of(["abc+/def==ghijklmn=="]) == "a"


@pytest.mark.parametrize("text", ["", " "])
def test_without_pairs_there_are_no_keys(text: str) -> None:
    assert not ApiKeys(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("secret without a name", "pair 1 is not name=key"),
        (f"a={ONE},b c={TWO}", "pair 2 is not name=key"),
        ("a=tooshort", "'a' has fewer than 16 characters"),
        (f"a={ONE},b={ONE}", "'a' and 'b' have the same key"),
        (",", "no name=key in it"),
        (" , ,", "no name=key in it"),
        ("a=" + "ü" * 16, "the key of 'a' has a space, or characters beyond ASCII"),
        (f"a= {ONE}", "the key of 'a' has a space"),
        (f"a={ONE} {TWO}", "the key of 'a' has a space"),
    ],
)
def test_wrong_pairs_are_named_without_their_keys(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as raised:
        ApiKeys(text)
    assert ONE not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_every_key_is_compared_in_constant_time_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def counted(known: bytes, offered: bytes) -> bool:
        compared.append((len(known), len(offered)))
        return compare_digest(known, offered)

    keys = ApiKeys(f"a={ONE},b={TWO},c={THREE}")
    monkeypatch.setattr("heatlens_web.api_keys.hmac.compare_digest", counted)

    for offered in (ONE, TWO, THREE, "x"):
        compared.clear()
        keys.name_of([offered])
        assert compared == [(32, 32)] * 3


@pytest.mark.parametrize(
    ("headers", "offered"),
    [
        ({}, []),
        ({"x-api-key": "k"}, ["k"]),
        ({"authorization": "Bearer k"}, ["k"]),
        ({"authorization": "bearer  k "}, ["k"]),
        ({"authorization": "Basic k"}, []),
        ({"authorization": "Bearer"}, []),
        ({"x-api-key": "a", "authorization": "Bearer b"}, ["a", "b"]),
    ],
)
def test_keys_are_read_from_two_headers(headers: dict[str, str], offered: list[str]) -> None:
    assert offered_keys(headers) == offered


@pytest.mark.parametrize(
    ("path", "base", "expected"),
    [
        ("/", "", True),
        ("/base", "/base", True),
        ("/base/docs", "/base", True),
        ("/static/js/app.js", "", True),
        ("/v2/health/ready", "", True),
        ("/api/inference/health", "", True),
        ("/api/inference/heatmap", "", False),
        ("/api/inference/models", "", False),
        ("/v2/models/demo", "", False),
        ("/metrics", "", False),
    ],
)
def test_pages_and_health_need_no_key(path: str, base: str, expected: bool) -> None:  # noqa: FBT001 - a parameter
    assert is_open({"path": path, "root_path": base}) is expected
