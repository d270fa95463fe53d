import json
from pathlib import Path
from typing import Any

import pytest

from heatlens.card import SCHEMA_VERSION, Preprocess, read_card
from heatlens.errors import CardError
from tests.support.tiny import write_tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "model")


def change(folder: Path, **fields: Any) -> None:  # noqa: ANN401 - JSON
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_reads_a_complete_folder_and_its_digest(folder: Path) -> None:
    card, digest = read_card(folder)
    change(folder, version="8")

    assert card.name == "tiny"
    assert read_card(folder)[1] != digest


def test_rejects_a_folder_without_a_card(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"no readable card\.json in the model folder"):
        read_card(tmp_path)


def test_error_messages_contain_no_path(tmp_path: Path) -> None:
    with pytest.raises(CardError) as raised:
        read_card(tmp_path / "gone")

    assert str(tmp_path) not in raised.value.detail


@pytest.mark.provokes("model.card")
def test_rejects_an_altered_graph(folder: Path) -> None:
    (folder / "trunk.onnx").write_bytes((folder / "trunk.onnx").read_bytes() + b"\0")

    with pytest.raises(CardError, match=r"trunk\.onnx is not the file its card describes"):
        read_card(folder)


def test_rejects_a_missing_graph(folder: Path) -> None:
    (folder / "tail.onnx").unlink()

    with pytest.raises(CardError, match=r"tail\.onnx is missing"):
        read_card(folder)


def test_rejects_a_graph_outside_the_folder(folder: Path) -> None:
    layers = json.loads((folder / "card.json").read_text())["layers"]
    layers[0]["trunk"]["file"] = "../trunk.onnx"
    change(folder, layers=layers)

    with pytest.raises(CardError, match="not a plain file name"):
        read_card(folder)


def test_rejects_a_newer_card(folder: Path) -> None:
    change(folder, schema_version=SCHEMA_VERSION + 1)

    with pytest.raises(
        CardError, match=f"schema version {SCHEMA_VERSION + 1}, this code reads {SCHEMA_VERSION}: update heatlens"
    ):
        read_card(folder)


def test_reads_a_schema_1_card_with_its_only_layer(folder: Path) -> None:
    newer, _ = read_card(folder)
    fields = json.loads((folder / "card.json").read_text())
    [layer] = fields["layers"]
    older = {key: layer.pop(key) for key in ("trunk", "tail", "parity", "calibration")}
    del layer["tokens"], fields["combined"]
    (folder / "card.json").write_text(json.dumps(fields | older | {"schema_version": 1}))

    assert read_card(folder)[0] == newer


@pytest.mark.parametrize("version", [2, 3])
def test_reads_an_earlier_card(folder: Path, version: int) -> None:
    newer, _ = read_card(folder)
    change(folder, schema_version=version)

    assert read_card(folder)[0] == newer


def test_rejects_a_broken_schema_1_card_and_names_the_field(folder: Path) -> None:
    change(folder, schema_version=1, layers=[{"name": "cells", "shape": [1, 8, 8]}])

    with pytest.raises(CardError, match=r"layers\.0\.trunk: Field required"):
        read_card(folder)


def test_rejects_a_missing_or_altered_graph_of_a_further_layer(folder: Path) -> None:
    layers = json.loads((folder / "card.json").read_text())["layers"]
    further = json.loads(json.dumps(layers[0])) | {"name": "further"}
    further["tail"]["file"] = "tail.1.onnx"
    change(folder, layers=[*layers, further])

    with pytest.raises(CardError, match=r"tail\.1\.onnx is missing"):
        read_card(folder)
    (folder / "tail.1.onnx").write_bytes(b"another")
    with pytest.raises(CardError, match=r"tail\.1\.onnx is not the file its card describes"):
        read_card(folder)


def test_rejects_layers_with_the_same_name(folder: Path) -> None:
    layers = json.loads((folder / "card.json").read_text())["layers"]
    change(folder, layers=layers * 2)

    with pytest.raises(CardError, match="two layers have the same name"):
        read_card(folder)


def test_a_layer_is_found_by_name_the_first_by_default(folder: Path) -> None:
    card, _ = read_card(folder)

    assert card.layer() is card.layer("cells") is card.layers[0]
    with pytest.raises(CardError, match="there is no layer 'rows' in this model: it has cells"):
        card.layer("rows")


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"card"', b"\xff", b"[" * 100_000])
def test_rejects_files_that_are_not_cards(folder: Path, raw: bytes) -> None:
    (folder / "card.json").write_bytes(raw)

    with pytest.raises(CardError, match=r"^card\.json(: card: | is not JSON: compile the model again$)"):
        read_card(folder)


def test_an_unknown_field_is_named(folder: Path) -> None:
    change(folder, colour="red")

    with pytest.raises(CardError, match="colour: Extra inputs are not permitted"):
        read_card(folder)


def test_a_sigmoid_model_has_two_classes(folder: Path) -> None:
    change(folder, classes=["a", "b", "c"])

    with pytest.raises(CardError, match="exactly two classes"):
        read_card(folder)


@pytest.mark.parametrize("resize", [256, (100, 300)])
def test_a_crop_lies_within_the_resized_image(resize: int | tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="crop must lie within"):
        Preprocess(resize=resize, crop=(200, 300), mean=(0, 0, 0), std=(1, 1, 1))


def test_resize_by_the_shorter_side_needs_a_crop() -> None:
    with pytest.raises(ValueError, match="needs a crop"):
        Preprocess(resize=256, mean=(0, 0, 0), std=(1, 1, 1))
