"""The Python API: the names of `import heatlens`, and `Explainer`."""

import dataclasses
import doctest
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from PIL import Image

import heatlens
from heatlens import Card, Explainer, Explanation, explainer
from heatlens.errors import (
    CardError,
    EmptyFile,
    FileTooLarge,
    HeatlensError,
    InvalidOption,
    UnreadableImage,
    UnsupportedImage,
)
from heatlens.image_source import ImageSource
from heatlens.pipeline import explain
from heatlens.settings import LIMITS, read_settings
from heatlens.types import Options, Scores, Upload
from tests.support.coroutines import awaited
from tests.support.images import encoded, noise
from tests.support.paths import ROOT, SAMPLES

SAMPLE = SAMPLES / "phantom-01-opacity.png"


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> Explainer:
    return Explainer.load(tiny_folder)


def test_the_public_names_are_these() -> None:
    assert heatlens.__all__ == ["Card", "Explainer", "Explanation", "__version__"]
    assert {name: getattr(heatlens, name).__module__ for name in heatlens.__all__[:3]} == {
        "Card": "heatlens.card",
        "Explainer": "heatlens.explainer",
        "Explanation": "heatlens.results",
    }
    assert set(heatlens.__all__) <= set(dir(heatlens))
    with pytest.raises(AttributeError, match="module 'heatlens' has no attribute 'Explained'"):
        heatlens.Explained  # noqa: B018


def test_every_public_method_is_documented() -> None:
    for public in (Card, Explainer, Explanation, Explainer.load, Explainer.explain, Explainer.card, Explanation.png):
        assert public.__doc__


def test_importing_heatlens_loads_no_engine() -> None:
    program = "import heatlens, json, sys; print(json.dumps([heatlens.__version__, *sys.modules]))"
    text = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True).stdout

    loaded = set(json.loads(text))
    assert heatlens.__version__ in loaded
    assert loaded & {"numpy", "PIL", "openvino", "pydantic", "heatlens.card"} == set()


def test_the_example_in_the_documentation_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("HEATLENS_MODEL_DIR", raising=False)

    assert doctest.testmod(explainer) == (0, 5)


def test_explainer_equals_the_pipeline(tiny: Explainer) -> None:
    data = encoded(noise((40, 30)))
    limits = read_settings().limits(LIMITS)
    [expected] = explain(tiny._model, [Upload("a", data)], Options("hot", 0.7), limits=limits, batch_images=1)
    assert isinstance(expected, Explanation)

    explanation = tiny.explain(data, colormap="hot", alpha=0.7)

    assert expected.overlay is not None
    assert explanation.png == expected.overlay.data
    assert (explanation.prediction, explanation.quality, explanation.box) == (
        expected.prediction,
        expected.quality,
        expected.box,
    )
    np.testing.assert_array_equal(explanation.signed_map, expected.signed_map)
    assert explanation.signed_map.dtype == np.float32


def test_targets_and_methods_are_as_the_pipeline_has_them(tiny: Explainer) -> None:
    data = encoded(noise((40, 30)))
    limits = read_settings().limits(LIMITS)
    options = Options(target=("1", "DARK"), contrast=None, method="layercam", include=frozenset())
    [expected] = explain(tiny._model, [Upload("a", data)], options, limits=limits, batch_images=1)
    assert isinstance(expected, Explanation)

    explanation = tiny.explain(data, target=[1, "DARK"], method="layercam", overlay=False)

    assert [each.label for each in explanation.explained] == ["BRIGHT", "DARK"]
    for ours, theirs in zip(explanation.explained, expected.explained, strict=True):
        np.testing.assert_array_equal(ours.signed_map, theirs.signed_map)
    with pytest.raises(InvalidOption, match="no class"):
        tiny.explain(data, target="GREY")
    with pytest.raises(InvalidOption, match="unknown method"):
        tiny.explain(data, method="cam")
    with pytest.raises(InvalidOption, match="contrasted with itself"):
        tiny.explain(data, target="DARK", contrast=0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_an_image_may_come_in_any_form(tiny: Explainer, tmp_path: Path, mode: str) -> None:
    image = Image.new("I;16", (9, 7), 500) if mode == "I;16" else noise((9, 7)).convert(mode)
    opened = tiny.explain(image)
    as_file = image if mode != "YCbCr" else image.convert("RGB")
    kind = "TIFF" if mode == "CMYK" else "PNG"
    path = tmp_path / "image"
    path.write_bytes(encoded(as_file, kind))

    forms: list[bytes | str | Path] = [path, str(path), path.read_bytes()]

    assert [tiny.explain(form).png for form in forms] == [opened.png] * 3


@pytest.mark.parametrize("dtype", ["int32", "float32", ">u2", "unit"])
def test_a_deep_pillow_image_is_explained_as_its_file(tiny: Explainer, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (30, 40))
    file = encoded(Image.fromarray(values.astype(np.uint16)))
    deep = (values / 4096).astype(np.float32) if dtype == "unit" else values.astype(dtype)

    assert tiny.explain(Image.fromarray(deep)).png == tiny.explain(file).png


def test_a_pillow_image_that_cannot_be_read_fails_alone(tiny: Explainer) -> None:
    outcomes = tiny.explain([Image.new("LAB", (4, 4)), noise((9, 7)), Image.new("F", (4, 4), float("nan"))])

    assert [type(outcome) for outcome in outcomes] == [UnreadableImage, Explanation, UnreadableImage]


def test_several_images_are_explained_in_order(tiny: Explainer, tmp_path: Path) -> None:
    pictures = [encoded(noise((20 + index, 20), seed=index)) for index in range(19)]
    bad: dict[int, bytes | Path] = {3: b"", 10: b"text", 17: tmp_path / "gone.png"}
    images = [bad.get(index, picture) for index, picture in enumerate(pictures)]

    outcomes = tiny.explain(iter(images))

    assert [type(outcome) for index, outcome in enumerate(outcomes) if index in bad] == [
        EmptyFile,
        UnsupportedImage,
        UnreadableImage,
    ]
    for index, outcome in enumerate(outcomes):
        if index not in bad:
            assert isinstance(outcome, Explanation)
            assert outcome.width == 20 + index
            np.testing.assert_allclose(
                outcome.signed_map, tiny.explain(pictures[index]).signed_map, rtol=1e-5, atol=1e-6
            )
    assert tiny.explain([]) == []


def test_raises_the_error_of_a_single_image(tiny: Explainer, tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"^gone\.png: No such file or directory$"):
        tiny.explain(tmp_path / "gone.png")
    with pytest.raises(UnsupportedImage):
        tiny.explain(b"text")


def test_a_file_over_the_limit_is_refused_without_reading_it_all(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEATLENS_FILE_BYTES", "100")
    limited = Explainer.load(tiny_folder)
    (tmp_path / "a.png").write_bytes(bytes(101))

    with pytest.raises(FileTooLarge, match=r"^a\.png has more than 100 bytes$"):
        limited.explain(tmp_path / "a.png")
    with pytest.raises(HeatlensError) as at_the_limit:
        limited.explain(bytes(100))
    assert not isinstance(at_the_limit.value, FileTooLarge)


def test_many_images_have_no_request_limit(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATLENS_REQUEST_PIXELS", "150")
    image = encoded(noise((10, 10)))

    assert all(isinstance(each, Explanation) for each in Explainer.load(tiny_folder).explain([image] * 3))


def test_without_an_overlay_the_map_is_returned(tiny: Explainer) -> None:
    explanation = tiny.explain(noise((9, 7)), overlay=False)

    assert explanation.signed_map.shape == tiny.card.layers[0].shape[1:]
    with pytest.raises(ValueError, match="this explanation has no overlay"):
        explanation.png  # noqa: B018


def test_an_explanation_is_frozen(tiny: Explainer) -> None:
    explanation = tiny.explain(noise((9, 7)))

    with pytest.raises(dataclasses.FrozenInstanceError):
        explanation.width = 1  # type: ignore[misc]


def test_the_overlay_has_the_originals_size() -> None:
    explanation = Explainer.load().explain(SAMPLE)

    with Image.open(io.BytesIO(explanation.png)) as drawn, Image.open(SAMPLE) as original:
        assert drawn.size == original.size == (explanation.width, explanation.height)


COLORMAPS = "'jet', 'hot', 'viridis', 'turbo', 'inferno', 'magma', 'cividis', 'gray', 'coolwarm' or 'seismic'"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colormap": "rainbow"}, f"colormap is 'rainbow': Input should be {COLORMAPS}"),
        ({"alpha": 0.05}, "alpha is 0.05: Input should be greater than or equal to 0.1"),
        ({"alpha": float("nan")}, "alpha is nan: Input should be a finite number"),
        ({"window": (40, -1)}, "window is (40, -1): Input should be greater than or equal to 0"),
        ({"window": "wide"}, "window is 'wide': a window is centre,width, such as 40,400"),
    ],
)
def test_rejects_invalid_options(tiny: Explainer, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        tiny.explain(noise((9, 7)), **options)  # type: ignore[call-overload]
    assert str(caught.value) == message


def test_the_card_identifies_the_model(tiny: Explainer, tiny_folder: Path, tmp_path: Path) -> None:
    assert (tiny.card.name, len(tiny.sha256)) == ("tiny", 64)
    with pytest.raises(CardError):
        Explainer.load(tmp_path)
    assert Explainer.load(str(tiny_folder)).sha256 == tiny.sha256


@pytest.mark.parametrize(
    ("given", "kind"),
    [([SAMPLE, None], "NoneType"), ({"a": SAMPLE}, "dict"), (7, "int"), ([[SAMPLE]], "list")],
    ids=["one of several", "mapping", "number", "nested"],
)
def test_what_is_no_image_is_named_before_any_is_explained(tiny: Explainer, given: object, kind: str) -> None:
    with pytest.raises(TypeError, match=rf"an image is the bytes of a file, .* or a tensor, and not {kind}$"):
        tiny.explain(given)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="an image is the bytes of a file"):
        tiny.predict(given)  # type: ignore[call-overload]


def test_an_unknown_keyword_is_a_type_error_that_names_the_nearest(tiny: Explainer) -> None:
    with pytest.raises(TypeError, match=r"^colourmap: unknown name; did you mean 'colormap'\?$"):
        tiny.explain(noise((9, 7)), colourmap="hot")  # type: ignore[call-overload]


def test_arrays_and_open_files_are_explained_as_their_image(tiny: Explainer) -> None:
    image = noise((9, 7))
    array = np.asarray(image)
    expected = tiny.explain(image).png

    forms: list[ImageSource] = [
        array,
        io.BytesIO(encoded(image)),
        bytearray(encoded(image)),
        memoryview(encoded(image)),
        array / 255,
    ]

    assert [tiny.explain(form).png for form in forms] == [expected] * len(forms)
    assert [each.png for each in tiny.explain(np.stack([array, array])) if isinstance(each, Explanation)] == [
        expected,
        expected,
    ]


def test_a_tensor_has_its_channels_first(tiny: Explainer) -> None:
    import torch

    image = noise((9, 7))
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)

    assert tiny.explain(tensor).png == tiny.explain(image).png
    assert tiny.explain((tensor / 255).requires_grad_()).png == tiny.explain(image).png
    assert tiny.explain(tensor[0]).png == tiny.explain(array[:, :, 0]).png
    assert tiny.explain((tensor / 255).bfloat16()).width == 9


def test_predictions_are_those_of_the_explanations(tiny: Explainer) -> None:
    images: list[Image.Image | bytes] = [noise((9, 7), seed=seed) for seed in range(3)]

    outcomes = tiny.predict([*images, b"text"])

    assert [type(outcome) for outcome in outcomes] == [Scores, Scores, Scores, UnsupportedImage]
    for outcome, image in zip(outcomes, images, strict=False):
        assert isinstance(outcome, Scores)
        assert outcome.prediction.label == tiny.explain(image).prediction.label
    assert [score.label for score in tiny.predict(images[0]).classes] == list(tiny.card.classes)
    with pytest.raises(UnsupportedImage):
        tiny.predict(b"text")


def test_an_event_loop_goes_on_while_an_image_is_explained(tiny: Explainer) -> None:
    image = noise((9, 7))

    turns = []

    async def count_turns() -> None:
        while True:
            turns.append(1)
            await anyio.sleep(0)

    async def both() -> tuple[Any, Any]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count_turns)
            found = await tiny.explain_async(image, colormap="hot"), await tiny.predict_async(image)
            tasks.cancel_scope.cancel()
        return found

    explanation, scores = awaited(both())

    assert len(turns) > 2
    assert explanation.png == tiny.explain(image, colormap="hot").png
    assert scores.prediction.label == explanation.prediction.label


def test_threads_share_an_explainer(tiny: Explainer) -> None:
    images = [noise((9, 7), seed=seed) for seed in range(12)]

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda image: tiny.explain(image).png, images))

    assert found == [tiny.explain(image).png for image in images]


def test_a_closed_explainer_names_what_to_do(tiny_folder: Path) -> None:
    with Explainer.load(tiny_folder) as explainer:
        assert explainer.predict(Image.new("L", (8, 8))).width == 8

    for call in (lambda: explainer.card, lambda: explainer.explain(Image.new("L", (8, 8)))):
        with pytest.raises(RuntimeError, match="this explainer is closed: load another"):
            call()
