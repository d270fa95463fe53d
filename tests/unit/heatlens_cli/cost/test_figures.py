import json
from pathlib import Path

import pytest

from heatlens_cli.cost.figures import FiguresError, read_figures, read_plain
from tests.support.figures import FIGURES
from tests.support.paths import ROOT


def written(folder: Path, text: str) -> Path:
    path = folder / "cost.json"
    path.write_text(text)
    return path


def test_the_output_of_json_is_read(tmp_path: Path) -> None:
    assert read_figures(written(tmp_path, json.dumps({"figures": FIGURES.model_dump(), "lambda": {}}))) == FIGURES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peak_mib": 0}, "peak_mib: .*greater than 0"),
        ({"request": {"seconds": 1}}, r"request\.processor_seconds: .*required"),
        ({"architecture": "riscv"}, "architecture: "),
        ({"answer_bytes": {"png": 1}}, r"answer_bytes\.jpeg: .*required"),
        ({"picture_bytes": {"png": 1, "jpeg": 0}}, r"picture_bytes\.jpeg: .*greater than 0"),
        ({"more": 1}, "more: .*not permitted"),
    ],
)
def test_wrong_figures_are_named(change: dict[str, object], message: str, tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps({"figures": FIGURES.model_dump() | change}))

    with pytest.raises(FiguresError, match=rf"cost\.json: {message}"):
        read_figures(path)


@pytest.mark.parametrize(
    ("text", "message"), [("{}", "has no figures"), ("[]", "no JSON object"), ("x", "is no JSON"), ("[" * 9999, "JSON")]
)
def test_another_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FiguresError, match=message):
        read_figures(written(tmp_path, text))


def test_the_plain_service_is_read_from_the_results_of_make_bench(tmp_path: Path) -> None:
    results = {"request_ms": {"heatlens": [1, 2, 9], "plain": [30, 20, 1]}, "peak_mb": {"plain": 1500}}

    found = read_plain(written(tmp_path, json.dumps(results)))

    assert (found.slower, found.peak_mib) == (10, 1500)


def test_the_committed_results_have_a_plain_service() -> None:
    assert read_plain(ROOT / "tests" / "benchmarks" / "service.json").slower > 1


@pytest.mark.parametrize("results", [{}, {"request_ms": {"heatlens": [], "plain": [1]}}, {"request_ms": 3}])
def test_other_results_are_refused(results: object, tmp_path: Path) -> None:
    with pytest.raises(FiguresError, match=r"no results of make bench: give tests/benchmarks/service\.json"):
        read_plain(written(tmp_path, json.dumps(results)))
