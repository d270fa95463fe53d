from heatlens_web.cors import cors


def test_origins_are_separated_by_commas_and_have_no_trailing_slash() -> None:
    assert cors(" https://a.example/ ,http://b.example:3000,")["allow_origins"] == [
        "https://a.example",
        "http://b.example:3000",
    ]
