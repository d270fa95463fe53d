import json
from pathlib import Path
from typing import Any

import pytest

from heatlens.card import Preprocess, read_card
from heatlens.errors import CardError
from tests.tiny import write_tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "model")


def change(folder: Path, **fields: Any) -> None:  # noqa: ANN401 - JSON
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_whole_folder_is_read_and_its_digest_names_it(folder: Path) -> None:
    card, digest = read_card(folder)
    change(folder, version="8")

    assert card.name == "tiny"
    assert read_card(folder)[1] != digest


def test_no_card(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"no readable card\.json in the model folder"):
        read_card(tmp_path)


def test_a_message_names_no_path_of_the_machine(tmp_path: Path) -> None:
    with pytest.raises(CardError) as raised:
        read_card(tmp_path / "gone")

    assert str(tmp_path) not in raised.value.detail


def test_an_altered_graph(folder: Path) -> None:
    (folder / "trunk.onnx").write_bytes((folder / "trunk.onnx").read_bytes() + b"\0")

    with pytest.raises(CardError, match=r"trunk\.onnx is not the file its card describes"):
        read_card(folder)


def test_a_missing_graph(folder: Path) -> None:
    (folder / "tail.onnx").unlink()

    with pytest.raises(CardError, match=r"tail\.onnx is missing"):
        read_card(folder)


def test_a_graph_outside_the_folder(folder: Path) -> None:
    trunk = json.loads((folder / "card.json").read_text())["trunk"]
    change(folder, trunk=trunk | {"file": "../trunk.onnx"})

    with pytest.raises(CardError, match="not a plain file name"):
        read_card(folder)


def test_a_newer_card(folder: Path) -> None:
    change(folder, schema_version=2)

    with pytest.raises(CardError, match="schema version 2, this code reads 1: update heatlens"):
        read_card(folder)


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"card"', b"\xff", b"[" * 100_000])
def test_what_is_no_card(folder: Path, raw: bytes) -> None:
    (folder / "card.json").write_bytes(raw)

    with pytest.raises(CardError):
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


def test_the_shorter_side_alone_is_no_shape() -> None:
    with pytest.raises(ValueError, match="needs a crop"):
        Preprocess(resize=256, mean=(0, 0, 0), std=(1, 1, 1))
