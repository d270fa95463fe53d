import pytest

from heatlens_web.schemas.image_forms import image_text


@pytest.mark.parametrize("value", ["AA==", {"b64": "AA=="}, {"data": {"b64": "AA=="}}, {"image": "AA=="}])
def test_known_forms_are_read(value: object) -> None:
    assert image_text(value) == "AA=="


@pytest.mark.parametrize("value", [None, 1, [], {}, {"b64": 1}, {"b64": "AA==", "data": "AA=="}, {"bytes": "AA=="}])
def test_others_are_not(value: object) -> None:
    assert image_text(value) is None
