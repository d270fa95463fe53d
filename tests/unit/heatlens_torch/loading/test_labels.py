"""Class names are read from the forms in which owners keep them."""

import json
from pathlib import Path

import pytest

from heatlens.errors import ModelFileError
from heatlens_torch.loading.labels import ordered, read_labels


@pytest.mark.parametrize(
    "content", [["cat", "dog"], {"0": "cat", "1": "dog"}, {"dog": 1, "cat": 0}, {"id2label": {"1": "dog", "0": "cat"}}]
)
def test_reads_json_of_every_form(tmp_path: Path, content: object) -> None:
    (tmp_path / "names.json").write_text(json.dumps(content))

    assert read_labels(str(tmp_path / "names.json")) == ["cat", "dog"]


def test_reads_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n\n")

    assert read_labels(str(tmp_path / "names.txt")) == ["cat", "dog"]


def test_reads_names_with_commas_between_them() -> None:
    assert read_labels("cat, dog") == ["cat", "dog"]


@pytest.mark.parametrize("content", [{"cat": 0, "dog": 2}, 3, [1, 2], {"a": "b"}])
def test_rejects_json_that_holds_no_names(tmp_path: Path, content: object) -> None:
    (tmp_path / "names.json").write_text(json.dumps(content))

    with pytest.raises(ModelFileError, match=r"^classes: names\.json holds neither a list of names nor"):
        read_labels(str(tmp_path / "names.json"))


def test_indices_with_a_gap_are_no_order() -> None:
    assert ordered({0: "cat", 2: "dog"}) is None
