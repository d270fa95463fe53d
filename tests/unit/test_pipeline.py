import numpy as np
import pytest
from PIL import Image

from heatlens.errors import EmptyFile, FileTooLarge, HeatlensError
from heatlens.model import Model
from heatlens.openvino_engine import OpenVinoEngine
from heatlens.pipeline import explain
from heatlens.settings import DOOR_LIMITS
from heatlens.types import Explanation, Floats, Options, Upload
from tests.conftest import encoded, noise

LIMITS = DOOR_LIMITS["server"]


def uploads(count: int) -> list[Upload | HeatlensError]:
    return [Upload(f"{index}.png", encoded(noise((20 + index, 16), seed=index))) for index in range(count)]


def run(model: Model, files: list[Upload | HeatlensError], batch_images: int = 8) -> list[Explanation | HeatlensError]:
    return explain(model, files, Options(), limits=LIMITS, batch_images=batch_images)


@pytest.mark.parametrize("batch_images", [1, 2, 3, 8])
def test_any_batch_gives_what_one_at_a_time_gives(tiny_model: Model, batch_images: int) -> None:
    alone = [run(tiny_model, [upload])[0] for upload in uploads(5)]

    together = run(tiny_model, uploads(5), batch_images)

    for one, other in zip(alone, together, strict=True):
        assert isinstance(one, Explanation)
        assert isinstance(other, Explanation)
        assert one.overlay == other.overlay
        assert np.array_equal(one.signed_map, other.signed_map)
        assert one.prediction == other.prediction


def test_images_of_a_batch_share_one_pass(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    trunk = OpenVinoEngine.trunk

    def counted(engine: OpenVinoEngine, batch: Floats) -> tuple[Floats, ...]:
        sizes.append(len(batch))
        return trunk(engine, batch)

    monkeypatch.setattr(OpenVinoEngine, "trunk", counted)
    run(tiny_model, uploads(10), batch_images=4)

    assert sizes == [4, 4, 2]


def test_errors_keep_their_places_and_cost_no_pass(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = FileTooLarge("too large")

    outcomes = run(tiny_model, [refused, *uploads(1), Upload("empty", b"")])

    assert outcomes[0] is refused
    assert isinstance(outcomes[1], Explanation)
    assert isinstance(outcomes[2], EmptyFile)
    monkeypatch.delattr(OpenVinoEngine, "trunk")
    assert run(tiny_model, [refused]) == [refused]


def test_what_is_not_asked_for_is_not_drawn(tiny_model: Model) -> None:
    [outcome] = explain(tiny_model, uploads(1), Options(include=frozenset({"map"})), limits=LIMITS, batch_images=1)

    assert isinstance(outcome, Explanation)
    assert outcome.overlay is None
    assert outcome.original is None
    assert "colour" not in outcome.timings_ms


def test_the_metadata_of_the_upload_is_not_in_the_overlay(tiny_model: Model) -> None:
    exif = Image.Exif()
    exif[0x010E] = "JANE DOE"
    data = encoded(noise((20, 20)), "JPEG", exif=exif, comment=b"JANE DOE")

    [outcome] = run(tiny_model, [Upload("a.jpg", data)])

    assert isinstance(outcome, Explanation)
    assert outcome.overlay is not None
    assert b"JANE DOE" in data
    assert b"JANE DOE" not in outcome.overlay.data
