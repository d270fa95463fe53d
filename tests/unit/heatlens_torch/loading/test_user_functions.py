"""Functions that a description names are imported and called, and their failures are one sentence."""

import sys
from pathlib import Path

import pytest

from heatlens.errors import ModelFileError
from heatlens_torch.loading.user_functions import call, find, importable


def test_modules_beside_the_description_are_importable_only_inside_the_block(tmp_path: Path) -> None:
    (tmp_path / "module_beside_the_description.py").write_text("def double(number):\n    return 2 * number\n")

    with importable(tmp_path):
        assert call("inputs", "module_beside_the_description:double", 21) == 42

    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("reference", ["no_such_module:f", "math:no_such_function", "math", ":f"])
def test_rejects_a_function_that_cannot_be_imported(reference: str) -> None:
    with pytest.raises(ModelFileError, match=r"^inputs: '.*' cannot be imported as package\.module:function$"):
        find("inputs", reference)


def test_rejects_a_value_that_is_not_a_function() -> None:
    with pytest.raises(ModelFileError, match=r"^evaluation: 'math:pi' is not a function$"):
        find("evaluation", "math:pi")


def test_a_failing_function_is_named_with_its_error_as_the_cause() -> None:
    with pytest.raises(ModelFileError, match=r"^inputs: 'math:sqrt' failed with ValueError$") as caught:
        call("inputs", "math:sqrt", -1)

    assert isinstance(caught.value.__cause__, ValueError)
