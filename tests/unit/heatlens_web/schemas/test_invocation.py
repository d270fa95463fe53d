import json

import pytest
from pydantic import ValidationError

from heatlens_web.schemas.invocation import InvocationBody


@pytest.mark.parametrize(
    "body",
    [
        {"image_base64": "AA==", "colormap": "hot"},
        {"inputs": "AA==", "parameters": {"colormap": "hot"}},
        {"instances": [{"b64": "AA=="}], "colormap": "hot"},
        {"data": "AA==", "colormap": "hot"},
    ],
)
def test_every_form_is_the_same_body(body: object) -> None:
    read = InvocationBody.model_validate_json(json.dumps(body), strict=True)

    assert (read.image_base64, read.colormap) == ("AA==", "hot")
    assert read.model_fields_set == {"image_base64", "colormap"}


@pytest.mark.parametrize("body", [{"inputs": ["AA==", "AA=="]}, {"inputs": 1}, {"inputs": "AA==", "data": "AA=="}])
def test_a_body_without_exactly_one_image_is_refused(body: object) -> None:
    with pytest.raises(ValidationError):
        InvocationBody.model_validate_json(json.dumps(body), strict=True)
