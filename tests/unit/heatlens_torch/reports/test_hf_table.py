"""The table of transformers' classifiers: every one is in the list, and refusals and errors become rows."""

import math
from pathlib import Path

import pytest

from heatlens.errors import CompileError
from heatlens_torch.reports import hf_table
from heatlens_torch.reports.family_rows import TRACEBACK, append, read
from heatlens_torch.reports.hf_families import HF_FAMILIES, LEFT_OUT, HfFamily
from heatlens_torch.reports.hf_table import BAR, COLUMNS, OUT, HfRow


def rows() -> list[dict[str, str]]:
    lines = [line for line in OUT.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert tuple(cells[0]) == COLUMNS
    return [dict(zip(COLUMNS, row, strict=True)) for row in cells[1:]]


def words(table: Path) -> str:
    """Return the text without its line breaks."""
    return " ".join(table.read_text().split())


def test_every_classifier_of_transformers_is_listed() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    listed = {family.model_type for family in HF_FAMILIES}

    assert listed | set(LEFT_OUT) == set(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)
    assert not listed & set(LEFT_OUT)


def test_what_compiles_has_parity_and_what_does_not_a_sentence() -> None:
    known = {family.model_type for family in HF_FAMILIES}
    compiled = [row for row in rows() if row["layer"] != "refused"]

    assert {row["family"] for row in rows()} <= known
    assert all(float(row[key]) <= 1e-4 for row in compiled if row["map"] for key in ("map", "gradient", "logits"))
    assert TRACEBACK not in OUT.read_text()


def test_the_header_counts_its_rows() -> None:
    finished = [row for row in rows() if row["map"] or row["layer"] == "refused"]
    compiled = sum(row["layer"] != "refused" for row in finished)
    others = len(rows()) - len(finished)

    text = words(OUT)
    assert f"{compiled} of {len(finished)} families that were compiled have parity" in text
    assert (f"Of {others} more only the layer was chosen." in text) == (others > 0)
    assert compiled >= BAR * len(finished) > 0


def test_a_refusal_and_an_error_without_a_sentence_become_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    family = HF_FAMILIES[0]
    for error, text in (
        (CompileError("operator x has no conversion"), "operator x has no conversion"),
        (KeyError("x"), f"{TRACEBACK} KeyError: 'x'"),
    ):

        def fail(_family: HfFamily, _start: float, *, compiles: bool, error: Exception = error) -> HfRow:
            assert compiles
            raise error

        monkeypatch.setattr(hf_table, "_compile", fail)
        row = hf_table.run(family)
        assert row.refused == text
        append(tmp_path / "rows", row)
    found = read(tmp_path / "rows", HfRow, "model_type")
    assert f"- **{family.model_type}**: {TRACEBACK}" in hf_table.render(found)


def test_a_stopped_run_continues_in_the_order_of_the_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[str] = []

    def run(family: HfFamily, *, compiles: bool) -> HfRow:
        ran.append(family.model_type)
        differences = (0.0, 0.0, math.pi / 1e6) if compiles else ()
        return HfRow(family.model_type, 1.0, "layer", "3x3", *differences)

    monkeypatch.setattr(hf_table, "run", run)
    where = ["--rows", str(tmp_path / "rows"), "--out", str(tmp_path / "table.md")]
    hf_table.main(["vit", "resnet", "--choose", *where])
    assert "Of 2 more only the layer was chosen." in words(tmp_path / "table.md")
    hf_table.main(["vit", *where])
    hf_table.main(["beit", "vit", *where])

    assert ran == ["vit", "resnet", "vit", "beit"]
    assert "2 of 2 families that were compiled have parity" in words(tmp_path / "table.md")


def test_a_small_network_is_saved_as_transformers_saves_it() -> None:
    [resnet] = [family for family in HF_FAMILIES if family.model_type == "resnet"]

    with hf_table.saved(resnet, 0) as folder:
        found = {file.name for file in folder.iterdir()}

    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= found
