"""Bodies of the Open Inference Protocol are bounded before anything is computed from them."""

import pytest
from pydantic import ValidationError

from heatlens_web.schemas.kserve_v2 import MOST_DIMENSIONS, MOST_OUTPUTS, InferRequest

IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["AA=="]}
OUTPUT = {"name": "label"}


def test_a_short_request_is_read() -> None:
    request = InferRequest.model_validate({"inputs": [IMAGE | {"shape": [1, 1]}], "outputs": [OUTPUT]})

    assert request.wanted == ("label",)


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [IMAGE | {"shape": [1] * (MOST_DIMENSIONS + 1)}]},
        {"inputs": [IMAGE | {"shape": ["x"] * 100}]},
        {"inputs": [IMAGE], "outputs": [OUTPUT] * (MOST_OUTPUTS + 1)},
        {"inputs": [IMAGE], "outputs": [0] * 100},
    ],
    ids=["dimensions", "no dimensions", "outputs", "no outputs"],
)
def test_long_lists_are_one_error(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        InferRequest.model_validate(body)

    assert caught.value.error_count() == 1
