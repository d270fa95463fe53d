"""Texts in the letters of Pillow's own font."""

from heatlens.render.latin import latin


def test_letters_lose_their_accents_and_others_are_question_marks() -> None:
    assert latin("Müller größe é.png") == "Muller gro?e e.png"
    assert latin("肺.png") == "?.png"
