"""A network that mixes the images of a batch, or draws random numbers, is refused by the name of the module."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from heatlens.errors import CompileError
from heatlens_torch.loading.outputs import select_output
from heatlens_torch.loading.single_images import check_single_images

IMAGE = torch.zeros(2, 3, 8, 8)


class InTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        self.norm.train()
        answer: torch.Tensor = self.norm(value)
        return answer


class Mixing(nn.Module):
    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value - value.mean(dim=0, keepdim=True)


class DroppedOut(nn.Module):
    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return functional.dropout(value, 0.5, training=True)


def network(middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), middle, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


@pytest.mark.parametrize(
    ("middle", "message"),
    [
        (nn.BatchNorm2d(4, track_running_stats=False), r"depends on the other images.*'1' \(BatchNorm2d\) mixes them"),
        (InTraining(), r"depends on the other images of its batch.*'1\.norm' \(BatchNorm2d\) mixes them"),
        (Mixing(), r"other callers': '1' \(Mixing\) mixes them"),
        (DroppedOut(), r"differently each time: '1' \(DroppedOut\) draws random numbers"),
    ],
)
def test_the_module_that_mixes_is_named(middle: nn.Module, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        check_single_images(network(middle), IMAGE)


@pytest.mark.parametrize("middle", [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.Dropout(), nn.InstanceNorm2d(4)])
def test_a_network_that_treats_every_image_alone_passes(middle: nn.Module) -> None:
    check_single_images(network(middle), IMAGE)


class Squeezed(nn.Module):
    def __init__(self, width: int, *, dims: int) -> None:
        super().__init__()
        self.stem, self.width, self.dims = nn.Conv2d(3, width, 8), width, dims

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.stem(image)
        return answer.squeeze() if self.dims == 0 else answer.reshape(-1, *(self.width, 1, 1)[3 - self.dims :])


@pytest.mark.parametrize(("width", "dims"), [(1, 0), (3, 0), (3, 3), (1, 2), (1, 1)])
def test_logits_of_other_shapes_become_rows(width: int, dims: int) -> None:
    odd = Squeezed(width, dims=dims)
    select_output(odd, None, IMAGE)

    assert odd(torch.zeros(5, 3, 8, 8)).shape == (5, width)
    assert odd(torch.zeros(1, 3, 8, 8)).shape == (1, width)
    check_single_images(odd, IMAGE)


class Listed(nn.Module):
    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [image.mean(dim=(2, 3))]


def test_a_list_of_one_tensor_needs_no_entry() -> None:
    listed = Listed()
    select_output(listed, None, IMAGE)
    assert listed(IMAGE).shape == (2, 3)
