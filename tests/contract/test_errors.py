"""Every error is provoked by a test that is marked with its code: by a request, or by loading or making a model."""

import pytest

from functions.batch import errors as of_files
from heatlens import errors
from heatlens.errors import HeatlensError, ModelError
from infra.make_tables import MODULES, response_errors, staged_file_errors
from tests.support.marks import marked

PROVOKED = marked("provokes")
ANSWERED = {each.code: each for each in [*response_errors(), *staged_file_errors()]}
NEVER_ANSWERED = {
    each.code: each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, ModelError) and each is not ModelError
}


def test_no_two_errors_share_a_code() -> None:
    modules = (of_files, *MODULES)
    classes = {
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, HeatlensError)
    }

    assert len({each.code for each in classes}) == len(classes)


def test_every_mark_is_of_an_error() -> None:
    assert sorted(PROVOKED.keys() - ANSWERED.keys() - NEVER_ANSWERED.keys()) == []


@pytest.mark.contract("every error")
@pytest.mark.parametrize("code", ANSWERED)
def test_every_error_is_answered_in_a_functional_test(code: str) -> None:
    tests = PROVOKED.get(code, [])

    assert [test.id for test in tests if test.path.startswith("tests/functional/")]
    assert all(f'"{code}"' in test.source.partition("\n")[2] for test in tests), "the test looks for the code"


@pytest.mark.contract("every error")
@pytest.mark.parametrize("code", NEVER_ANSWERED)
def test_every_model_error_is_raised_in_a_test(code: str) -> None:
    tests = PROVOKED.get(code, [])

    assert tests
    assert all(f"pytest.raises({NEVER_ANSWERED[code].__name__}" in test.source for test in tests)
