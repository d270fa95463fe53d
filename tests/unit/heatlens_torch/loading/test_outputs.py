"""The logits are found in what a network answers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from heatlens.errors import CompileError, ModelFileError
from heatlens_torch.loading.outputs import select_output

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
MEANS = IMAGE.mean((2, 3))


class Answering(nn.Module):
    """Answers the means of the channels in some form."""

    def __init__(self, form: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.form = form

    def forward(self, image: torch.Tensor) -> Any:  # noqa: ANN401
        return self.form(image.mean((2, 3)))


@pytest.mark.parametrize(
    ("form", "entry"),
    [
        (lambda means: [means], None),
        (lambda means: {"out": means, "loss": None}, None),
        (lambda means: ({"out": [means]},), None),
        (lambda means: {"a": {"logits": means}, "b": means + 1}, "a.logits"),
        (lambda means: (means + 1, (means + 2, means)), "1.1"),
        (lambda means: means[:, :, None, None], None),
    ],
)
def test_the_logits_are_taken_out_of_what_is_around_them(form: Any, entry: str | None) -> None:  # noqa: ANN401
    network = Answering(form)

    select_output(network, entry, IMAGE)

    assert torch.equal(network(IMAGE), MEANS)


@pytest.mark.parametrize("form", [lambda m: m[:, 0], lambda m: m[:, :1, None], lambda m: m[:, :1].squeeze()])
def test_one_logit_comes_in_several_shapes(form: Callable[[torch.Tensor], torch.Tensor]) -> None:
    network = Answering(form)

    select_output(network, None, IMAGE)

    assert torch.equal(network(IMAGE), MEANS[:, :1])
    assert torch.equal(network(IMAGE[:1]), MEANS[:1, :1])


@pytest.mark.parametrize(
    ("form", "error", "message"),
    [
        (lambda means: (means, means + 1), ModelFileError, r"missing: the network answers several tensors: 0 \[2, 3\]"),
        (lambda means: {"a": [means, means + 1]}, ModelFileError, r"'a\.0' \[2, 3\], 'a\.1' \[2, 3\]$"),
        (lambda means: None, ModelFileError, "a NoneType, which has no tensors to take$"),
        (
            lambda means: means.argmax(1),
            CompileError,
            r"answers int64, which has no gradient: let it return the logits",
        ),
        (
            lambda means: means[..., None, None].expand(-1, -1, 4, 4),
            CompileError,
            r"\[2, 3, 4, 4\], a map for each class",
        ),
    ],
)
def test_rejects_what_has_no_logits(form: Any, error: type[Exception], message: str) -> None:  # noqa: ANN401
    with pytest.raises(error, match=message):
        select_output(Answering(form), None, IMAGE)
