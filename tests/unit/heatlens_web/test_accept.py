import pytest

from heatlens.types import Format, Options
from heatlens_web.accept import options_of, picture_format, preferred_type
from heatlens_web.related import DICOM, RELATED

JSON = "application/json"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", None),
        ("application/json", None),
        ("image/png", "png"),
        ("IMAGE/WEBP", "webp"),
        ("image/*", "jpeg"),  # the option
        ("application/json;q=0.5, image/png", "png"),
        ("application/json, image/png;q=0.5", None),
        ("image/png;q=0", None),
        ("image/png;q=high", None),
        ("text/html", None),
        ("", None),
    ],
)
def test_accept_selects_the_format_of_the_overlay_or_json(accept: str, expected: Format | None) -> None:
    assert picture_format(accept, "jpeg") == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/dicom", DICOM),
        ("application/dicom; transfer-syntax=*", DICOM),
        ("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", DICOM),
        ("application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90, */*;q=0.1", JSON),
        ('multipart/related; type="application/dicom"', RELATED),
        ("multipart/related;type=application/dicom;q=0.9, application/json;q=0.5", RELATED),
        ('multipart/related; type="application/octet-stream"', JSON),
        ('application/dicom, multipart/related; type="application/dicom"', DICOM),
        ("application/*", JSON),
        ("application/dicom;q=0", JSON),
    ],
)
def test_accept_selects_dicom_as_dicomweb_writes_it(accept: str, expected: str) -> None:
    assert preferred_type(accept) == expected


def test_a_response_that_is_the_overlay_includes_nothing_else() -> None:
    options = Options(format="jpeg", dicom=("seg",))

    assert options_of(options, accept="image/webp") == Options(include=frozenset({"overlay"}), format="webp")
    assert options_of(options, accept="*/*") == options


def test_a_response_of_objects_has_those_that_are_named_else_a_capture() -> None:
    bare = Options(include=frozenset(), dicom=("sc",))

    assert options_of(Options(format="jpeg"), accept=DICOM) == bare
    assert options_of(Options(dicom=("seg", "sr")), accept=RELATED).dicom == ("seg", "sr")
