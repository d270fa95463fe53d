import inspect
import re

from heatlens_web import deliver
from heatlens_web.cors import EXPOSED, cors


def test_origins_are_separated_by_commas_and_have_no_trailing_slash() -> None:
    assert cors(" https://a.example/ ,http://b.example:3000,")["allow_origins"] == [
        "https://a.example",
        "http://b.example:3000",
    ]


def test_a_page_may_read_every_fact_of_an_image_response() -> None:
    facts = set(re.findall(r"x-heatlens-[a-z]+", inspect.getsource(deliver)))

    assert "x-heatlens-notes" in facts
    assert facts == {name for name in EXPOSED if name.startswith("x-heatlens-")}
