import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from heatlens.engines.openvino import OpenVinoEngine
from heatlens.errors import (
    EmptyFile,
    FileTooLarge,
    GenerationFailed,
    HeatlensError,
    InvalidOption,
    NoDicomObject,
    TooManyPasses,
    TooManyTargets,
    TooMuchMemory,
)
from heatlens.explain.attribution import METHOD_NAMES
from heatlens.input.decode import decode
from heatlens.input.decode_memory import WRITING_BYTES_PER_PIXEL
from heatlens.model import Model
from heatlens.pipeline import Run, explain
from heatlens.plan import make_plan
from heatlens.results import Explanation
from heatlens.settings import LIMITS
from heatlens.types import Floats, Options, Picture, Upload
from tests.support.dicom_studies import phantom, radiograph
from tests.support.images import encoded, noise


def uploads(count: int) -> list[Upload | HeatlensError]:
    return [Upload(f"{index}.png", encoded(noise((20 + index, 16), seed=index))) for index in range(count)]


def run(model: Model, files: list[Upload | HeatlensError], batch_images: int = 8) -> list[Explanation | HeatlensError]:
    return explain(model, files, Options(), limits=LIMITS, batch_images=batch_images)


@pytest.mark.parametrize("batch_images", [1, 2, 3, 8])
def test_batches_of_any_size_give_the_same_results(tiny_model: Model, batch_images: int) -> None:
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


@pytest.mark.parametrize(
    ("images", "options", "image_bytes", "threads"),
    [
        (1, Options(), None, 1),
        (2, Options(), None, 2),
        (9, Options(), None, 4),
        (9, Options(), 100_000_000, 4),
        (9, Options(), 74_624, 4),  # the four largest of 20 to 28 by 16 pixels are 1,696 pixels, of 44 bytes each
        (9, Options(), 74_623, 1),
        (9, Options(include=frozenset({"faithfulness"})), None, 1),
    ],
)
def test_images_are_drawn_at_a_time_as_processors_and_memory_allow(
    tiny_model: Model, images: int, options: Options, image_bytes: int | None, threads: int
) -> None:
    model = replace(tiny_model, threads=4, image_bytes=image_bytes)
    request = Run(model, make_plan(model, options), options, LIMITS, budget_s=1)

    assert request.threads(uploads(images)) == threads


def test_the_limit_of_an_images_memory_comes_before_what_the_model_leaves(tiny_model: Model) -> None:
    model, options = replace(tiny_model, threads=4, image_bytes=100_000_000), Options()
    limits = LIMITS.model_copy(update={"image_bytes": 50_000})

    assert Run(model, make_plan(model, options), options, limits, budget_s=1).threads(uploads(9)) == 1


def test_a_batch_on_several_threads_gives_the_same_results(tiny_model: Model) -> None:
    alone, together = (run(replace(tiny_model, threads=threads), uploads(7)) for threads in (1, 3))

    assert [each.overlay for each in alone if isinstance(each, Explanation)] == [
        each.overlay for each in together if isinstance(each, Explanation)
    ]
    assert len(alone) == len(together) == 7


def test_errors_keep_their_places_and_do_not_reach_the_network(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = FileTooLarge("too large")

    outcomes = run(tiny_model, [refused, *uploads(1), Upload("empty", b"")])

    assert outcomes[0] is refused
    assert isinstance(outcomes[1], Explanation)
    assert isinstance(outcomes[2], EmptyFile)
    monkeypatch.delattr(OpenVinoEngine, "trunk")
    assert run(tiny_model, [refused]) == [refused]


def test_an_image_that_the_engine_cannot_run_fails_alone(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    trunk = OpenVinoEngine.trunk

    def breaking(engine: OpenVinoEngine, batch: Floats) -> tuple[Floats, ...]:
        sizes.append(len(batch))
        if any(image.max() == 0 for image in batch):
            raise RuntimeError("black")
        return trunk(engine, batch)

    monkeypatch.setattr(OpenVinoEngine, "trunk", breaking)
    first, last = uploads(2)
    outcomes = run(tiny_model, [first, Upload("black", encoded(Image.new("L", (9, 9)))), last])

    assert [type(outcome) for outcome in outcomes] == [Explanation, GenerationFailed, Explanation]
    assert sizes == [3, 1, 1, 1]


def test_an_image_whose_decoder_breaks_fails_alone(tiny_model: Model, caplog: pytest.LogCaptureFixture) -> None:
    black = Upload("black", encoded(Image.new("L", (9, 9))))

    def breaking(data: bytes, **options: Any) -> Picture:  # noqa: ANN401 - those of `decode`
        if data == black.data:
            raise RuntimeError("secret")
        return decode(data, **options)

    first, last = uploads(2)
    outcomes = explain(tiny_model, [first, black, last], Options(), limits=LIMITS, batch_images=8, decode=breaking)

    assert [type(outcome) for outcome in outcomes] == [Explanation, GenerationFailed, Explanation]
    assert str(outcomes[1]) == "the image could not be processed: the server's log has the cause"
    assert "RuntimeError: secret" in caplog.text


def test_pictures_that_are_not_included_are_not_drawn(tiny_model: Model) -> None:
    [outcome] = explain(tiny_model, uploads(1), Options(include=frozenset({"map"})), limits=LIMITS, batch_images=1)

    assert isinstance(outcome, Explanation)
    assert outcome.overlay is None
    assert outcome.original is None
    assert "colour" not in outcome.timings_ms


@pytest.mark.contract("metadata")
def test_the_metadata_of_the_upload_is_not_in_the_overlay(tiny_model: Model) -> None:
    exif = Image.Exif()
    exif[0x010E] = "JANE DOE"
    data = encoded(noise((20, 20)), "JPEG", exif=exif, comment=b"JANE DOE")

    [outcome] = run(tiny_model, [Upload("a.jpg", data)])

    assert isinstance(outcome, Explanation)
    assert outcome.overlay is not None
    assert b"JANE DOE" in data
    assert b"JANE DOE" not in outcome.overlay.data


def explained(model: Model, options: Options, count: int = 2, **limits: int) -> list[Explanation]:
    outcomes = explain(model, uploads(count), options, limits=LIMITS.model_copy(update=limits), batch_images=500)
    assert all(isinstance(outcome, Explanation) for outcome in outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, Explanation)]


def test_each_of_several_targets_is_drawn(tiny_model: Model) -> None:
    several = explained(tiny_model, Options(target=("DARK", "top-2")))
    dark, bright = (explained(tiny_model, Options(target=(name,))) for name in ("DARK", "BRIGHT"))

    for at, outcome in enumerate(several):
        assert [each.label for each in outcome.explained] == ["DARK", "BRIGHT"]
        for each, alone in zip(outcome.explained, (dark[at], bright[at]), strict=True):
            assert each.overlay == alone.overlay
            assert np.array_equal(each.signed_map, alone.signed_map)
        first, second = outcome.explained
        assert first.logit == -second.logit
        assert first.probability + second.probability == pytest.approx(1)
        assert np.array_equal(first.signed_map, -second.signed_map)
        assert outcome.prediction.label in ("DARK", "BRIGHT")
    assert dark[0].overlay != bright[0].overlay


def test_each_method_draws_a_map_of_its_own(demo_model: Model) -> None:
    maps = {
        method: explained(demo_model, Options(method=method, include=frozenset({"map"})), count=1)[0].signed_map
        for method in METHOD_NAMES
    }

    assert {signed.shape for signed in maps.values()} == {(20, 20)}
    # The tail averages the grid first, so one gradient is for all cells; and no activation is negative.
    same = ({"gradcam", "xgradcam", "hirescam"}, {"layercam", "gradcam-elementwise"})
    for name, signed in maps.items():
        for other, another in maps.items():
            if name < other and not any({name, other} <= group for group in same):
                assert not np.allclose(signed, another, rtol=1e-3), (name, other)


def test_a_smoothed_map_is_the_heat_at_the_input(tiny_model: Model) -> None:
    [outcome] = explained(tiny_model, Options(aug_smooth=True), count=1)

    assert outcome.signed_map.shape == (32, 32)
    assert outcome.signed_map.min() >= 0
    assert outcome.signed_map.max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(method="grad-cam"), "method: unknown method 'grad-cam': one of gradcam, gradcam++"),
        (Options(layer="features"), "layer: there is no layer 'features' in this model: it has cells"),
        (Options(target=("GREY",)), "target: 'GREY' is no class"),
        (Options(target=("DARK",), contrast="DARK"), "contrast: 'DARK' cannot be contrasted with itself"),
    ],
)
def test_rejects_unknown_methods_layers_and_classes_before_decoding(
    tiny_model: Model, options: Options, message: str
) -> None:
    with pytest.raises(InvalidOption, match=re.escape(message)):
        explain(tiny_model, [Upload("empty", b"")], options, limits=LIMITS, batch_images=1)


def test_rejects_too_many_passes_or_targets_before_decoding(tiny_model: Model) -> None:
    with pytest.raises(TooManyPasses, match="12 times for this request, over the limit of 11"):
        explained(tiny_model, Options(aug_smooth=True), passes=11)
    assert len(explained(tiny_model, Options(aug_smooth=True), passes=12)) == 2
    with pytest.raises(TooManyTargets, match="2 targets for each image, over the limit of 1"):
        explained(tiny_model, Options(target=("0", "1")), targets=1)
    assert len(explained(tiny_model, Options(), passes=1, targets=1)) == 2  # what everybody asks is always allowed


def test_an_overlay_that_only_an_object_shows_is_left_out(tiny_model: Model) -> None:
    scans = [Upload("", radiograph(number)) for number in (1, 2)]
    options = Options(include=frozenset({"map"}), target=("DARK", "BRIGHT"), dicom=("sc",))

    for each in explain(tiny_model, scans, options, limits=LIMITS, batch_images=2):
        assert isinstance(each, Explanation)
        assert [(written.kind, written.label) for written in each.dicom] == [("sc", "DARK"), ("sc", "BRIGHT")]
        assert [explained.overlay for explained in each.explained] == [None, None]
        assert each.timings_ms["dicom"] > 0
        assert "dicom" not in each.to_dict()


def test_an_image_that_is_no_dicom_is_refused_before_it_is_decoded(tiny_model: Model) -> None:
    def decoded(*_: object, **__: object) -> Picture:
        pytest.fail("it was decoded")

    options = Options(dicom=("sc",))

    [refused] = explain(tiny_model, uploads(1), options, limits=LIMITS, batch_images=1, decode=decoded)

    assert isinstance(refused, NoDicomObject)


def test_objects_of_an_image_too_large_to_write_are_refused(tiny_model: Model) -> None:
    scan, options = Upload("", radiograph()), Options(include=frozenset({"map"}), dicom=("seg",))
    height, width = phantom().shape
    limits = LIMITS.model_copy(update={"image_bytes": width * height * WRITING_BYTES_PER_PIXEL - 1})

    [refused] = explain(tiny_model, [scan], options, limits=limits, batch_images=1)
    [explained] = explain(tiny_model, [scan], Options(), limits=limits, batch_images=1)

    assert isinstance(refused, TooMuchMemory)
    assert str(refused).startswith("writing DICOM objects of this image")
    assert isinstance(explained, Explanation)
