import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatlens_web.base64_text import decode_base64
from heatlens_web.errors import BadBase64


@given(st.binary(max_size=60), st.booleans(), st.booleans(), st.integers(1, 80), st.sampled_from(["", "data:;base64,"]))
def test_every_spelling_is_decoded(data: bytes, urlsafe: bool, padded: bool, width: int, prefix: str) -> None:  # noqa: FBT001 - of hypothesis
    text = (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    lines = "\r\n".join(text[start : start + width] for start in range(0, len(text), width))

    assert decode_base64(prefix + lines) == data


@pytest.mark.parametrize("text", ["A", "AAAAA", "AA AA", "AA=A", "Ä", "AAA\0", "data:,AAAA", "data:AAAA", "AA==AA=="])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(BadBase64):
        decode_base64(text)
