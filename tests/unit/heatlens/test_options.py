import json
from dataclasses import fields
from typing import Any

import pytest

from functions.endpoint.attributes import read_attributes
from heatlens.errors import InvalidOption
from heatlens.explain.targets import parse_targets
from heatlens.options import as_json, as_query, from_json
from heatlens.types import Options
from heatlens_aws.records import attributes, plain
from tests.support.tiny import bare_card

EVERYTHING = Options(
    colormap="hot",
    alpha=0.7,
    include=frozenset({"map", "overlay"}),
    target=("GREEN, light", "a&b=c+d", "Müller"),
    contrast="0",
    method="gradcam++",
    layer="layer4.2",
    eigen_smooth=True,
    aug_smooth=True,
    model="colours",
    scale="absolute",
    threshold=0.25,
    format="webp",
    original="png",
    strip_original=True,
    window=(-40.5, 400.0),
    frame=7,
    dicom=("seg", "sr"),
)


def test_the_sample_options_differ_from_every_default() -> None:
    assert [field.name for field in fields(Options) if getattr(EVERYTHING, field.name) == field.default] == []


@pytest.mark.parametrize("options", [Options(), EVERYTHING, Options(target=(3, "3"), contrast=0)])
def test_options_survive_a_batch_row(options: Options) -> None:
    row = plain(attributes({"options": json.loads(json.dumps(as_json(options)))}))["options"]

    assert from_json(row) == options
    assert hash(from_json(row)) == hash(options)  # options that are alike are explained together


def test_missing_options_have_defaults_and_unknown_ones_are_ignored() -> None:
    assert from_json({"colormap": "hot", "alpha": 0.4, "newer": 1}) == Options(colormap="hot")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colormap": "newest"}, "colormap is 'newest': "),
        ({"include": ["smell"]}, "include is ['smell']: "),
        ({"target": {"a": 1}}, "target is {'a': 1}: "),
        ({"alpha": "much"}, "alpha is 'much': "),
        ({"include": None}, "include is None: "),
        ({"window": [1]}, "window is [1]: "),
        ({"layer": ["x" * 5000]}, "layer is ['xxxx"),
    ],
)
def test_an_invalid_value_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        from_json(values)

    assert str(refused.value).startswith(message)
    assert len(str(refused.value)) < 300
    assert refused.value.mistakes[0].field == message.partition(" ")[0]


@pytest.mark.parametrize("options", [Options(), EVERYTHING])
def test_a_query_is_read_back_as_the_same_options(options: Options) -> None:
    assert read_attributes(as_query(options)).over(None) == options
    assert as_query(options).isascii()


def test_a_group_in_a_query_is_read_as_the_same_classes() -> None:
    card = bare_card(("cat", "dog|small", "bird"), "softmax")
    options = Options(target=((2, "dog|small"), "cat"))

    read = read_attributes(as_query(options)).over(None)

    assert parse_targets(read.target, None, card) == parse_targets(options.target, None, card)


def test_a_query_has_only_options_that_differ_from_the_defaults() -> None:
    assert as_query(Options()) == ""
    assert as_query(Options(target=("a", "b"), eigen_smooth=True)) == "target=a&target=b&eigen_smooth=true"
