"""BatchNorms take the statistics of the images that they are settled on."""

import pytest
import torch
from torch import nn

from heatlens_torch.loading.batchnorm import batchnorms, settle_batchnorm


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)).eval()


def batches() -> list[torch.Tensor]:
    return [torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]


def test_running_statistics_are_the_mean_over_the_batches() -> None:
    settled = network()

    settle_batchnorm(settled, batchnorms(settled)[:1], batches())

    outputs = [settled[0](batch).transpose(0, 1).flatten(1) for batch in batches()]
    state = settled.state_dict()
    torch.testing.assert_close(state["1.running_mean"], torch.stack([output.mean(1) for output in outputs]).mean(0))
    torch.testing.assert_close(state["1.running_var"], torch.stack([output.var(1) for output in outputs]).mean(0))


def test_only_the_norms_that_are_named_change() -> None:
    settled = network()

    settle_batchnorm(settled, batchnorms(settled)[1:], batches())

    state = settled.state_dict()
    assert not state["1.running_mean"].any()
    assert state["3.running_mean"].any()


def test_momentum_and_mode_are_restored_after_an_error() -> None:
    settled = network()
    norms = batchnorms(settled)

    with pytest.raises(RuntimeError):
        settle_batchnorm(settled, norms, [torch.zeros(2, 1, 8, 8)])

    assert [norm.momentum for norm in norms] == [0.1, 0.1]
    assert not any(module.training for module in settled.modules())


def test_without_norms_the_network_is_not_run() -> None:
    settle_batchnorm(network(), [], [torch.zeros(2, 1, 8, 8)])  # a shape that it could not take
