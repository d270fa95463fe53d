"""The table of timm's families: its rows are those of the code's list, and the bar holds."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm

from heatlens.errors import CompileError
from heatlens_torch.loading.spec import ModelSpec
from heatlens_torch.reports import families_table
from heatlens_torch.reports.families import FAMILIES, Family
from heatlens_torch.reports.families_table import BAR, COLUMNS, OUT, Row
from heatlens_torch.reports.family_rows import TRACEBACK, append, read


def rows() -> list[dict[str, str]]:
    lines = [line for line in OUT.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert tuple(cells[0]) == COLUMNS
    return [dict(zip(COLUMNS, row, strict=True)) for row in cells[1:]]


def test_the_committed_rows_are_of_the_list_in_its_order() -> None:
    listed = [(family.name, family.architecture, str(family.pixels)) for family in FAMILIES]
    written = [(row["family"], row["architecture"], row["input"]) for row in rows()]

    assert written == [each for each in listed if each in written]
    assert len(set(listed)) == len(listed)
    missing = len(listed) - len(written)
    assert (f"{missing} families of the list have not been run yet" in OUT.read_text()) == (missing > 0)


def test_the_bar_holds_and_what_compiles_has_parity() -> None:
    written = rows()
    compiled = [row for row in written if row["layer"] != "refused"]

    assert len(compiled) >= BAR * len(written) > 0
    assert all(float(row[key]) <= 1e-4 for row in compiled for key in ("map", "gradient", "logits"))
    assert TRACEBACK not in OUT.read_text()


def test_the_header_counts_its_rows() -> None:
    written = rows()
    compiled = sum(row["layer"] != "refused" for row in written)

    assert f"{compiled} of {len(written)} compile at the default layer with parity: {compiled / len(written):.1%}" in (
        OUT.read_text()
    )
    assert OUT.read_text().count("\n- **") == len(written) - compiled


def test_weights_without_evidence_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    image = np.zeros((2, 3, 96, 96), np.float32)

    def build(spec: ModelSpec, _home: Path) -> SimpleNamespace:
        drawn.append(spec.weights)
        return SimpleNamespace(network=None)

    for name, answer in (("images_of", image), ("default_layer", "layer"), ("probe", None), ("prove", "proof")):
        monkeypatch.setattr(families_table, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(families_table, "build_network", build)
    monkeypatch.setattr(families_table, "has_evidence", lambda *_: len(drawn) == 2)

    families_table.compile_family(FAMILIES[0])

    assert drawn == ["seed:0", "seed:1"]


def test_every_module_of_timm_is_in_the_list() -> None:
    modules = {timm.model_entrypoint(family.architecture).__module__.rpartition(".")[2] for family in FAMILIES}

    assert modules == set(timm.list_modules())


def test_a_refusal_and_an_error_without_a_sentence_become_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    family = FAMILIES[0]
    for error, text in (
        (CompileError("operator x has no conversion"), "operator x has no conversion"),
        (KeyError("x"), f"{TRACEBACK} KeyError: 'x'"),
    ):

        def fail(_family: Family, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(families_table, "compile_family", fail)
        row = families_table.run(family)
        assert row.refused == text
        append(tmp_path / "rows", row)
    found = read(tmp_path / "rows", Row, "architecture")
    assert list(found) == [family.architecture]
    assert found[family.architecture].refused.startswith(TRACEBACK)
    table = families_table.render(found)
    assert f"- **{family.architecture}**: {TRACEBACK}" in table
    assert "0 of 1 compile" in table


def test_a_stopped_run_continues(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[str] = []

    def run(family: Family) -> Row:
        ran.append(family.architecture)
        return Row(family.architecture, "layer", "3x3", 0.0, 0.0, 1e-6)

    monkeypatch.setattr(families_table, "run", run)
    one, two = (family.architecture for family in FAMILIES[:2])
    where = ["--rows", str(tmp_path / "rows"), "--out", str(tmp_path / "table.md")]
    families_table.main([one, *where])
    families_table.main([one, two, *where])

    assert ran == [one, two]
    assert (
        "2 of 2 compile at the default layer with parity: 100.0%; the bar is 95%."
        in (tmp_path / "table.md").read_text()
    )
