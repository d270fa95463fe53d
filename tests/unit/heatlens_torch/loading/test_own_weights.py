"""A factory's own weights are left as they are, and never taken for untrained ones or the other way round."""

from typing import Any

import pytest
import torch
from torch import nn

from heatlens.errors import ModelFileError
from heatlens_torch.loading import own_weights
from tests.support.checkpoints import state_of, tiny

HERE = f"{__name__}:"
STATE = state_of()


def loaded() -> nn.Module:
    network = tiny()
    network.load_state_dict(STATE)
    return network


def normless(*, seeded: bool) -> nn.Module:
    if seeded:
        torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))


def head_forgotten() -> nn.Module:
    network = loaded()
    network.get_submodule("head").reset_parameters()  # type: ignore[operator]
    return network


def test_own_weights_are_left_as_they_are() -> None:
    network = own_weights.build(f"{HERE}loaded", {})

    assert all(torch.equal(value, STATE[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(("factory", "drawn"), [("head_forgotten", "head.weight"), ("tiny", "features.0.weight")])
def test_rejects_as_own_what_is_drawn_at_random(factory: str, drawn: str) -> None:
    with pytest.raises(ModelFileError, match=f"^weights: '.*{factory}' draws {drawn} at random, so it does not"):
        own_weights.build(f"{HERE}{factory}", {})


@pytest.mark.parametrize(
    ("factory", "arguments"), [("loaded", {}), ("normless", {"seeded": True}), ("head_forgotten", {})]
)
def test_rejects_a_seed_for_a_factory_that_brings_its_weights(factory: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match=r"brings weights that do not depend on the seed, and seed:N would alter"):
        own_weights.build_untrained(f"{HERE}{factory}", arguments, 0)


@pytest.mark.parametrize(("factory", "arguments"), [("tiny", {}), ("normless", {"seeded": False})])
def test_a_seed_draws_the_weights_of_an_untrained_network(factory: str, arguments: dict[str, Any]) -> None:
    first, same, other = (own_weights.build_untrained(f"{HERE}{factory}", arguments, seed) for seed in (0, 0, 5))

    assert all(map(torch.equal, first.parameters(), same.parameters()))
    assert not all(map(torch.equal, first.parameters(), other.parameters()))
