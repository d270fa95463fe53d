"""The HTTP API and the command line have the options and the defaults of the core."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from heatlens.card import DEFAULT_METHOD
from heatlens.evaluate.regions import THRESHOLD
from heatlens.explain.attribution import MethodOptions
from heatlens.explain.targets import PREDICTED, parse_targets
from heatlens.options import OptionArguments
from heatlens.types import Options
from heatlens_cli.commands.dev import invoke
from heatlens_cli.commands.explain import explain
from heatlens_web.schemas.options import HeatmapOptions
from tests.support.tiny import bare_card

DEFAULTS: dict[str, Any] = {option.name: option.default for option in fields(Options)}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_query_schema_has_the_default_of_the_core(name: str) -> None:
    default = HeatmapOptions.model_fields[name].default

    assert type(DEFAULTS[name])(default) == DEFAULTS[name] if isinstance(default, list) else default == DEFAULTS[name]


def test_the_query_schema_has_no_further_options() -> None:
    assert HeatmapOptions.model_fields.keys() == DEFAULTS.keys()


def test_the_stages_have_the_defaults_of_the_options() -> None:
    method = MethodOptions()

    assert (method.eigen_smooth, method.aug_smooth) == (DEFAULTS["eigen_smooth"], DEFAULTS["aug_smooth"])
    assert (method.method, DEFAULTS["threshold"]) == (DEFAULT_METHOD, THRESHOLD)
    assert DEFAULTS["method"] is None  # the model's own


def test_python_arguments_are_options() -> None:
    assert OptionArguments.__annotations__.keys() <= DEFAULTS.keys()


@pytest.mark.parametrize("command", [explain, invoke])
def test_a_command_has_the_defaults_of_the_core(command: Callable[..., Any]) -> None:
    defaults = {
        {"form": "format"}.get(name, name): parameter.default
        for name, parameter in inspect.signature(command).parameters.items()
    }
    # The command's `model` is a folder, and it writes no copy of the original; its lists are texts, or none.
    shared = defaults.keys() & DEFAULTS.keys() - {"target", "model", "include", "dicom"}

    assert shared >= {"colormap", "alpha"}
    assert {name: defaults[name] for name in shared} == {name: DEFAULTS[name] for name in shared}


def test_the_commands_default_target_is_the_predicted_class() -> None:
    default = inspect.signature(explain).parameters["target"].default
    card = bare_card(("a", "b", "c"), "softmax")

    assert parse_targets(default or (), None, card) == parse_targets(Options().target, None, card) == PREDICTED
