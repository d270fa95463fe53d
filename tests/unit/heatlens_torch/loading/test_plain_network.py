"""What a factory returns becomes a plain network in float32."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from heatlens.errors import ModelFileError
from heatlens_torch.loading.plain_network import cast_name, make_float32, unwrap


def tiny() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.Flatten()), nn.Linear(16, 2)).eval()


def compiled(network: nn.Module) -> nn.Module:
    """Wrap a network as torch.compile does; nothing is compiled before it is called."""
    wrapped: Any = torch.compile(network)
    assert isinstance(wrapped, nn.Module)
    return wrapped


def with_a_compiled_part() -> nn.Module:
    network = tiny()
    network[1] = compiled(network[1])
    return network


def compiled_in_place() -> nn.Module:
    network = tiny()
    network.compile()
    return network


WRAPPED: list[Callable[[], nn.Module]] = [
    lambda: compiled(tiny()),
    lambda: nn.DataParallel(tiny()),
    lambda: AveragedModel(tiny()),
    lambda: nn.DataParallel(compiled(tiny())),
    with_a_compiled_part,
    compiled_in_place,
]


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_wrappers_of_a_training_program_are_removed(wrapped: Callable[[], nn.Module]) -> None:
    network = unwrap(wrapped())

    assert list(network.state_dict()) == list(tiny().state_dict())
    assert all(type(module).__module__.startswith("torch.nn.modules") for module in network.modules())
    assert network._compiled_call_impl is None


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_cast_and_said(kind: torch.dtype) -> None:
    network = tiny().to(kind)

    assert make_float32(network) == f"{str(kind).removeprefix('torch.')} to float32"
    assert network(torch.zeros(1, 3, 4, 4)).dtype == torch.float32
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32, torch.int64}


def test_float32_weights_are_left_and_so_is_a_mixture() -> None:
    network, mixed = tiny(), tiny()
    mixed[2].double()
    before = [id(parameter) for parameter in network.parameters()]

    assert (make_float32(network), make_float32(mixed)) == ("", "")
    assert [id(parameter) for parameter in network.parameters()] == before
    assert mixed[2].weight.dtype == torch.float64


def test_a_weight_with_two_names_stays_one() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).half()
    network[1].weight = network[0].weight

    make_float32(network)

    assert network[1].weight is network[0].weight


def test_weights_made_in_inference_mode_can_be_differentiated() -> None:
    with torch.inference_mode():
        network = tiny()

    make_float32(network)

    network(torch.zeros(1, 3, 4, 4)).sum().backward()
    weight = network[0].weight
    assert isinstance(weight, nn.Parameter)
    assert weight.grad is not None


def test_only_what_is_cast_is_named() -> None:
    assert cast_name({torch.float32, torch.int64}) == ""
    assert cast_name({torch.float32, torch.float16, torch.bfloat16}) == "bfloat16, float16 to float32"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_rejects_a_quantized_network() -> None:
    quantize: Any = torch.ao.quantization.quantize_dynamic
    quantized = quantize(tiny(), {nn.Linear}, dtype=torch.qint8)

    with pytest.raises(ModelFileError, match=r"its module '2' \(Linear\) is quantized, and integers have no gradient"):
        unwrap(quantized)
