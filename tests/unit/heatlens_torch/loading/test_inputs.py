"""A network that takes more than the image is called with the image alone."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from heatlens.errors import ModelFileError
from heatlens_torch.loading.inputs import place_image

IMAGE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Aged(nn.Module):
    """Takes an age, an image, and something that it can do without."""

    def forward(self, age: torch.Tensor, image: torch.Tensor, scale: float | torch.Tensor = 1.0) -> torch.Tensor:
        return (image.mean((2, 3)) + age) * scale


class Mapped(nn.Module):
    """Takes one mapping."""

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return batch["image"].mean((2, 3)) + batch["age"]


MEANS = IMAGE.mean((2, 3))


@pytest.mark.parametrize("entry", ["image", 1])
def test_the_image_goes_where_it_belongs_and_constants_to_every_image(entry: int | str) -> None:
    network = Aged()

    place_image(network, entry, {"age": [5.0]})

    torch.testing.assert_close(network(IMAGE), MEANS + 5)
    torch.testing.assert_close(network(IMAGE[:1]), MEANS[:1] + 5)


def test_a_list_is_a_row_and_a_number_has_no_further_dimension() -> None:
    seen: list[torch.Size] = []

    class Noting(nn.Module):
        def forward(self, age: torch.Tensor, image: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            seen.extend([age.shape, scale.shape])
            return image

    network = Noting()
    place_image(network, "image", {"age": [1.0, 2.0, 3.0], "scale": 2.0})
    network(IMAGE)

    assert seen == [(4, 3), (4,)]


def test_a_copy_of_the_network_computes_with_its_own_weights() -> None:
    class Weighing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, age: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
            return (image.mean((2, 3)) + age) * self.weight

    network = Weighing()
    place_image(network, "image", {"age": [1.0]})
    other = deepcopy(network)
    other.weight.data.fill_(3.0)

    torch.testing.assert_close(other(IMAGE), network(IMAGE) * 3)


def test_a_network_that_takes_one_mapping_gets_it() -> None:
    network = Mapped()

    place_image(network, "image", {"age": [2.0]})

    torch.testing.assert_close(network(IMAGE), MEANS + 2)


def test_without_names_nothing_changes() -> None:
    network = Aged()

    place_image(network, None, {})

    assert "forward" not in vars(network)


@pytest.mark.parametrize(
    ("entry", "constants", "message"),
    [
        ("scan", {}, r"^input_entry: the network's forward\(\) takes no 'scan': it takes age, image, scale$"),
        (7, {}, r"^input_entry: the network's forward\(\) takes no 7: it takes"),
        ("image", {"sex": 1}, r"^constants: the network's forward\(\) takes no 'sex': it takes"),
    ],
)
def test_rejects_names_that_the_network_does_not_take(entry: Any, constants: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ModelFileError, match=message):
        place_image(Aged(), entry, constants)
