"""What a network or torch raises becomes one sentence."""

import pytest

from heatlens.errors import CompileError, ModelFileError
from heatlens_torch.errors import INSTEAD, reason, running


def test_reason_names_the_operator_of_any_error_in_the_chain() -> None:
    inner = RuntimeError("No conversion for aten::cummax.default")
    outer = ValueError("export failed")
    outer.__cause__ = inner

    assert reason(outer) == f"operator cummax has no conversion; {INSTEAD}"


def test_reason_names_the_type_of_an_error_without_an_operator() -> None:
    assert reason(KeyError("secret")) == f"KeyError; {INSTEAD}"


def test_running_reports_the_shape_and_keeps_the_cause() -> None:
    with (
        pytest.raises(CompileError, match=r"image batch of shape \(2, 3, 4, 4\): it raises KeyError;") as caught,
        running([2, 3, 4, 4]),
    ):
        raise KeyError("the network's own")

    assert isinstance(caught.value.__cause__, KeyError)


def test_running_passes_errors_of_heatlens_unchanged() -> None:
    error = ModelFileError("weights: missing")

    with pytest.raises(ModelFileError) as caught, running([1, 3, 4, 4]):
        raise error

    assert caught.value is error
