"""Keys of a TOML text are found with their lines; tomllib tells which keys there are."""

import tomllib
from collections.abc import Iterator

from heatlens_torch.loading.toml_lines import line_of, lines_of

TEXT = '''\
# name = "not this"
name = "a"   # version = "nor this"
"quoted key" = 1
classes = [
    "one = 1",
    "two",  # ]
]
notice = """
layer = "not this either"
[table]
"""
dotted.key = 'x'

[preprocess] # a comment
mean = [0.5, 0.5,
        0.5]
std = [
  0.2, 0.2, 0.2 ]
[ arguments.deep ]
blocks = [
  [1, 2],
  [3]
]
inline = {a = 1, b = "]"}
last = \'\'\'one line\'\'\'
[[preprocess.steps]]
size = 1
[[ preprocess.steps ]] # a comment
size = 2
'''
EXPECTED = {
    ("name",): 2,
    ("quoted key",): 3,
    ("classes",): 4,
    ("notice",): 8,
    ("dotted", "key"): 12,
    ("preprocess",): 14,
    ("preprocess", "mean"): 15,
    ("preprocess", "std"): 17,
    ("arguments", "deep"): 19,
    ("arguments", "deep", "blocks"): 20,
    ("arguments", "deep", "inline"): 24,
    ("arguments", "deep", "last"): 25,
    ("preprocess", "steps"): 26,
    ("preprocess", "steps", "0"): 26,
    ("preprocess", "steps", "0", "size"): 27,
    ("preprocess", "steps", "1"): 28,
    ("preprocess", "steps", "1", "size"): 29,
}


def leaves(fields: dict[str, object], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in fields.items():
        if isinstance(value, dict) and key != "inline":
            yield from leaves(value, (*above, key))
        elif isinstance(value, list) and key == "steps":
            yield (*above, key)
            for index, each in enumerate(value):
                yield from leaves(each, (*above, key, str(index)))
        else:
            yield (*above, key)


def test_every_key_has_its_line() -> None:
    assert lines_of(TEXT) == EXPECTED
    assert set(leaves(tomllib.loads(TEXT))) == set(EXPECTED) - {
        ("preprocess",),
        ("arguments", "deep"),
        *(("preprocess", "steps", index) for index in "01"),
    }


def test_part_of_a_value_has_the_line_of_its_key() -> None:
    assert line_of(TEXT, ("preprocess", "std", 2)) == 17
    assert line_of(TEXT, ("arguments", "deep", "inline", "a")) == 24
    assert line_of(TEXT, ("preprocess", "steps", 1, "size", 0)) == 29


def test_a_missing_key_has_the_line_of_its_table() -> None:
    assert line_of(TEXT, ("preprocess", "resize")) == 14
    assert line_of(TEXT, ("resize",)) is None
