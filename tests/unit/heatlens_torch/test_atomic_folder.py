"""A model folder is replaced completely, or left as it was."""

from pathlib import Path

import pytest

from heatlens.card import CARD_FILE
from heatlens.errors import ModelFileError
from heatlens_torch.atomic_folder import replace_folder


def model_folder(path: Path, content: str = "old") -> Path:
    path.mkdir()
    (path / CARD_FILE).write_text(content)
    return path


def files_below(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*"))


def test_a_new_folder_appears_with_its_parents(tmp_path: Path) -> None:
    with replace_folder(tmp_path / "a" / "out") as folder:
        (folder / CARD_FILE).write_text("new")
        assert not (tmp_path / "a" / "out").exists()

    assert files_below(tmp_path) == ["a", "a/out", f"a/out/{CARD_FILE}"]


def test_an_existing_model_is_replaced_with_all_its_files(tmp_path: Path) -> None:
    out = model_folder(tmp_path / "out", '{"file": "only-in-the-old-one.onnx"}')
    (out / "only-in-the-old-one.onnx").touch()

    with replace_folder(out) as folder:
        (folder / CARD_FILE).write_text("new")

    assert files_below(tmp_path) == ["out", f"out/{CARD_FILE}"]
    assert (out / CARD_FILE).read_text() == "new"


def test_an_error_leaves_the_existing_model_unchanged(tmp_path: Path) -> None:
    out = model_folder(tmp_path / "out")

    def fail() -> None:
        with replace_folder(out) as folder:
            (folder / CARD_FILE).write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert files_below(tmp_path) == ["out", f"out/{CARD_FILE}"]
    assert (out / CARD_FILE).read_text() == "old"


def test_the_old_model_is_put_back_if_the_new_one_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rename = model_folder(tmp_path / "out"), Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError("no space left")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)

    with pytest.raises(OSError, match="no space left"), replace_folder(out):
        pass

    assert (out / CARD_FILE).read_text() == "old"


@pytest.mark.parametrize("kind", ["a folder of something else", "a file"])
def test_rejects_to_replace_what_is_not_a_model(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "a file":
        out.write_text("thesis")
    else:
        out.mkdir()
        (out / "thesis").touch()

    with pytest.raises(ModelFileError, match="'out' exists and is not a model folder"), replace_folder(out):
        pass

    assert out.exists()


def test_a_file_that_the_card_does_not_name_is_not_removed_with_the_old_model(tmp_path: Path) -> None:
    out = model_folder(tmp_path / "out", '{"file": "trunk.onnx"}')
    (out / "trunk.onnx").touch()
    (out / "weights.ckpt").write_text("months of training")

    with (
        pytest.raises(ModelFileError, match=r"has files that are not the model's \(weights.ckpt\)"),
        replace_folder(out),
    ):
        pass

    assert (out / "weights.ckpt").read_text() == "months of training"
