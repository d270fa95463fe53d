"""The golden check: what an engine must reproduce at start, and what happens when it does not."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from heatlens.card import Card, Golden, read_card, write_card
from heatlens.engines.base import open_engines
from heatlens.engines.default_map import predicted_selector
from heatlens.engines.golden import (
    GoldenMismatchError,
    check_golden,
    encoded,
    explain_golden,
    golden_input,
    golden_pixels,
)
from heatlens.engines.openvino import OpenVinoEngine
from heatlens.errors import CardError, EngineError
from heatlens.model import GRAPH_ENGINES, load_model
from heatlens.types import Floats
from tests.support.tiny import save, write_tiny_model

FLOAT = TensorProto.FLOAT


def golden_of(card: Card, folder: Path, engine: str = "openvino", tolerance: float = 1e-3) -> Golden:
    layer = card.layers[0]
    runs = open_engines(folder, card, engine=engine)[layer.name]  # type: ignore[arg-type]
    pixels = golden_pixels(0, card.preprocess.shape)
    batch = golden_input(pixels, card.preprocess)
    logits, _ = explain_golden(runs, batch, np.ones((1, card.logits), np.float32))
    logits, heat = explain_golden(runs, batch, predicted_selector(logits))
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Golden(seed=0, sha256=digest, logits=encoded(logits), signed_map=encoded(heat), tolerance=tolerance)


def write_golden(folder: Path, engine: str = "openvino", **changes: Any) -> Card:  # noqa: ANN401 - its fields
    card, _ = read_card(folder)
    golden = golden_of(card, folder, engine).model_copy(update=changes)
    card = card.model_copy(update={"layers": (card.layers[0].model_copy(update={"golden": golden}),)})
    write_card(card, folder)
    return card


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_golden(write_tiny_model(tmp_path / "tiny"))
    return tmp_path / "tiny"


def spoil(monkeypatch: pytest.MonkeyPatch, *, precision: str | None = None) -> None:
    """Let OpenVINO return wrong numbers: the map of another processor, or one that saturates."""
    tail = OpenVinoEngine.tail

    def wrong(self: OpenVinoEngine, crossing: Sequence[Floats], selector: Floats) -> tuple[Floats, Floats]:
        logits, gradient = tail(self, crossing, selector)
        assert gradient is not None
        return logits, gradient * np.float32(-1.9)

    monkeypatch.setattr(OpenVinoEngine, "tail", wrong)
    if precision:
        monkeypatch.setattr(OpenVinoEngine, "precision", precision, raising=False)


def test_the_golden_image_is_the_same_everywhere() -> None:
    pixels = golden_pixels(0, (32, 48))

    assert pixels.shape == (32, 48, 3)
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    assert digest == "bbdba8854b47c5f5b16cf7c6eb931d6977d01ec7e2a8ce19fad882881a5a8428"
    assert not np.array_equal(pixels, golden_pixels(1, (32, 48)))
    assert golden_pixels(0, (1, 1)).shape == (1, 1, 3)


def test_an_engine_that_explains_as_the_card_says_passes(folder: Path) -> None:
    for engine in GRAPH_ENGINES:
        check = load_model(folder, engine=engine).golden

        assert check.status == "passed"
        assert check.difference is not None
        assert check.difference < 1e-5


def test_a_card_without_golden_explanation_loads_and_says_so(tmp_path: Path) -> None:
    check = load_model(write_tiny_model(tmp_path / "tiny")).golden

    assert (check.status, check.difference) == ("not checked", None)
    assert "compile the model again" in check.reason


def test_an_engine_with_wrong_numbers_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(monkeypatch)

    with caplog.at_level(logging.WARNING):
        model = load_model(folder, engine="openvino")

    assert (model.engine.name, model.engine.precision) == ("onnxruntime", "f32")
    assert model.golden.status == "fell back"
    assert model.golden.reason == (
        "openvino in f32: the map of 'cells' for the card's golden image differs by 2.9e+00 of its largest value "
        "(allowed 1e-03)"
    )
    assert "this machine does not explain as the card says, openvino in f32" in caplog.text


def test_a_model_that_no_engine_explains_as_its_card_says_is_refused(tmp_path: Path) -> None:
    write_golden(write_tiny_model(tmp_path / "tiny"), signed_map=encoded(np.ones((1, 8, 8), np.float32)))

    with pytest.raises(EngineError, match=r"^this machine does not explain as the card says, auto in f32: the map of"):
        load_model(tmp_path / "tiny")


def test_values_that_are_not_finite_never_pass(folder: Path) -> None:
    card, _ = read_card(folder)

    class Broken:
        name, precision, device = "broken", "f32", "CPU"

        def trunk(self, batch: Floats) -> tuple[Floats, ...]:
            return (np.full((len(batch), 1, 8, 8), np.nan, np.float32),)

        def tail(self, _crossing: Sequence[Floats], selector: Floats, _owners: object = None) -> tuple[Floats, Floats]:
            return np.full_like(selector, np.nan), np.full((len(selector), 1, 8, 8), np.nan, np.float32)

    with pytest.raises(GoldenMismatchError):
        check_golden(Broken(), card, card.layers[0])
    Broken.precision = "int8"
    with pytest.raises(GoldenMismatchError):
        check_golden(Broken(), card, card.layers[0])


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_a_lower_precision_is_held_to_the_correlation_of_its_map(folder: Path, precision: str) -> None:
    """8-bit products that saturate gave maps that correlate 0.54."""
    card, _ = read_card(folder)
    engine = open_engines(folder, card)["cells"]
    engine.precision = precision
    difference = check_golden(engine, card, card.layers[0])
    assert difference == pytest.approx(0, abs=1e-5)

    rng = np.random.default_rng(0)
    trunk = engine.trunk

    def saturating(batch: Floats) -> tuple[Floats, ...]:
        [activation] = trunk(batch)
        return (activation + 1.5 * activation.std() * rng.standard_normal(activation.shape, np.float32),)

    engine.trunk = saturating  # type: ignore[method-assign]
    with pytest.raises(GoldenMismatchError, match=r"correlates 0\.\d\d with that in f32 \(at least 0\.9"):
        check_golden(engine, card, card.layers[0])


def test_a_precision_that_fails_falls_back_to_float32(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heatlens import model as loading

    load = loading._load

    def failing(folder: Path, engine: Any, precision: Any, **options: Any) -> loading.Model:  # noqa: ANN401
        if precision == "int8":
            raise GoldenMismatchError("the map of 'cells' correlates 0.54")
        return load(folder, engine, precision, **options)

    monkeypatch.setattr(loading, "_load", failing)
    model = load_model(folder, engine="openvino", precision="int8")

    assert (model.engine.name, model.engine.precision) == ("openvino", "f32")
    assert model.golden.reason == "openvino in int8: the map of 'cells' correlates 0.54"


def test_an_image_that_is_generated_otherwise_is_refused(tmp_path: Path) -> None:
    write_golden(write_tiny_model(tmp_path / "tiny"), sha256="0" * 64)

    with pytest.raises(CardError, match="the golden image of 'cells' is another than its card says"):
        load_model(tmp_path / "tiny")


@pytest.mark.parametrize("text", ["AAAA", "not base64!"])
def test_a_damaged_golden_explanation_is_refused(text: str, tmp_path: Path) -> None:
    write_golden(write_tiny_model(tmp_path / "tiny"), logits=text)

    with pytest.raises(CardError, match="the golden explanation in the card is damaged"):
        load_model(tmp_path / "tiny")


def pooled_convolution(folder: Path) -> Path:
    """A tail of pool and 1x1 convolution: its gradient is ConvTranspose, Expand and Div."""
    write_tiny_model(folder)
    rng = np.random.default_rng(0)
    values = {
        "first": rng.standard_normal((32, 3, 4, 4), np.float32),
        "weight": rng.standard_normal((64, 32, 1, 1), np.float32),
        "cells": np.array([2, 3]),
        "count": np.float32(49),
    }
    constants = {name: numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()}
    info = helper.make_tensor_value_info
    trunk = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "first"], ["raw"], strides=[4, 4]),
            helper.make_node("AveragePool", ["raw"], ["activation"], kernel_shape=[2, 2]),
        ],
        "trunk",
        [info("image", FLOAT, ["B", 3, 32, 32])],
        [info("activation", FLOAT, ["B", 32, 7, 7])],
        [constants["first"]],
    )
    tail = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["activation", "cells"], ["mean"]),
            helper.make_node("Conv", ["mean", "weight"], ["score"]),
            helper.make_node("Flatten", ["score"], ["logits"]),
            helper.make_node("Unsqueeze", ["selector", "cells"], ["chosen"]),
            helper.make_node("ConvTranspose", ["chosen", "weight"], ["spread"]),
            helper.make_node("Shape", ["activation"], ["shape"]),
            helper.make_node("Expand", ["spread", "shape"], ["expanded"]),
            helper.make_node("Div", ["expanded", "count"], ["gradient"]),
        ],
        "tail",
        [info("activation", FLOAT, ["B", 32, 7, 7]), info("selector", FLOAT, ["B", 64])],
        [info("logits", FLOAT, ["B", 64]), info("gradient", FLOAT, ["B", 32, 7, 7])],
        [constants["weight"], constants["cells"], constants["count"]],
    )
    card, _ = read_card(folder)
    graphs = {"trunk": save(trunk, folder / "trunk.onnx"), "tail": save(tail, folder / "tail.onnx")}
    layer = card.layers[0].model_copy(update={"shape": (32, 7, 7), **graphs})
    classes = tuple(f"class {index}" for index in range(64))
    write_card(card.model_copy(update={"classes": classes, "output": "softmax", "layers": (layer,)}), folder)
    return folder


def test_openvinos_fault_with_a_transposed_convolution_is_caught(tmp_path: Path) -> None:
    """OpenVINO computes ConvTranspose (1x1), Expand and Div wrongly for a dynamic batch; ONNX Runtime does not."""
    folder = pooled_convolution(tmp_path / "pooled")
    write_golden(folder, "onnxruntime")

    model = load_model(folder, engine="openvino")

    assert model.engine.name == "onnxruntime"
    assert model.golden.status == "fell back"
    assert model.golden.reason.startswith("openvino in f32: the map of 'cells' for the card's golden image differs by")


def test_the_pattern_is_valid_onnx(tmp_path: Path) -> None:
    onnx.checker.check_model(onnx.load(pooled_convolution(tmp_path / "pooled") / "tail.onnx"), full_check=True)
