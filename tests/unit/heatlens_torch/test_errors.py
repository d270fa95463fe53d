"""What a network or torch raises becomes one sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from heatlens.errors import CompileError, ModelFileError
from heatlens_torch.errors import INSTEAD, reason, running, sentence


def test_reason_names_the_operator_of_any_error_in_the_chain() -> None:
    inner = RuntimeError("No conversion for aten::cummax.default")
    outer = ValueError("export failed")
    outer.__cause__ = inner

    assert reason(outer) == f"operator cummax has no conversion; {INSTEAD}"


def test_reason_names_the_line_of_the_users_code(tmp_path: Path) -> None:
    (tmp_path / "chest.py").write_text("def forward():\n    raise RuntimeError('no aten::fft')\n")
    code = compile((tmp_path / "chest.py").read_text(), str(tmp_path / "chest.py"), "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    with pytest.raises(RuntimeError) as caught:
        names["forward"]()

    assert reason(caught.value) == f"operator fft has no conversion (chest.py:2); {INSTEAD}"


def test_reason_names_the_type_of_an_error_without_an_operator() -> None:
    assert reason(KeyError("secret")) == f"KeyError: 'secret'; {INSTEAD}"


def test_a_sentence_is_the_first_line_and_not_endless() -> None:
    assert sentence(ValueError("\n one. \n two")) == "ValueError: one"
    assert sentence(ValueError()) == "ValueError"
    assert sentence(ValueError("x" * 1000)).endswith("x…")


@pytest.mark.parametrize(
    ("network", "hint"),
    [
        (nn.Conv3d(1, 2, 3), "it is a 3D network: only networks of images"),
        (nn.Conv2d(1, 2, 3), "its first convolution takes 1 channels, and the preprocessing makes 3"),
        (nn.Conv2d(3, 2, 9), "is it made for several images at once"),
        (nn.Sequential(nn.Conv2d(3, 2, 9).train()), "its module '0' is in training mode"),
    ],
)
def test_running_says_the_librarys_sentence_and_what_the_network_expects(network: nn.Module, hint: str) -> None:
    network.training = False
    for module in network.children() if "training" not in hint else []:
        module.eval()
    with pytest.raises(CompileError) as caught, running((2, 3, 4, 4), network):
        network(torch.zeros(2, 3, 4, 4))

    message = str(caught.value)
    assert "it raises RuntimeError: " in message
    assert hint in message
    assert message.partition("RuntimeError: ")[2].partition(";")[0]


def test_running_reports_the_shape_and_keeps_the_cause() -> None:
    with (
        pytest.raises(CompileError, match=r"image batch of shape \(2, 3, 4, 4\): it raises KeyError: ") as caught,
        running([2, 3, 4, 4]),
    ):
        raise KeyError("the network's own")

    assert isinstance(caught.value.__cause__, KeyError)


def test_running_passes_errors_of_heatlens_unchanged() -> None:
    error = ModelFileError("weights: missing")

    with pytest.raises(ModelFileError) as caught, running([1, 3, 4, 4]):
        raise error

    assert caught.value is error
