"""Lower precisions of a compiled model: what is written, measured and rejected."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from heatlens.card import Card, Layer, read_card
from heatlens.engines.openvino import has_bf16
from heatlens.errors import CompileError, ModelFileError
from heatlens.model import load_model
from heatlens.types import Floats
from heatlens_cli.inspect import facts
from heatlens_torch.compile import compile_model
from heatlens_torch.graph.quantize import check_quantizable, quantize
from heatlens_torch.loading.network import images_of, other_images
from heatlens_torch.loading.spec import PROOF_INPUTS, ModelSpec, read_spec
from heatlens_torch.proof import precisions
from tests.functional.compile.test_compile import THREE_LOGITS, changed, hook
from tests.functional.compile.test_layers import write
from tests.support.engines import mixed_calls, run_tail


@pytest.fixture(scope="module")
def spec_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("lower")
    return changed(THREE_LOGITS, more=hook("inputs", "pictures") | hook("evaluation", "judge")).write(home)


@pytest.fixture(scope="module")
def folder(spec_path: Path) -> Path:
    """A model compiled with everything."""
    compile_model(spec_path, spec_path.parent / "out", int8=True)
    return spec_path.parent / "out"


@pytest.fixture(scope="module")
def card(folder: Path) -> Card:
    return read_card(folder)[0]


@pytest.fixture(scope="module")
def spec(spec_path: Path) -> ModelSpec:
    return read_spec(spec_path)


def measured_precisions() -> list[str]:
    return (["bf16"] if has_bf16() else []) + ["int8"]


def test_the_card_has_the_agreement_of_each_precision(folder: Path, card: Card, spec: ModelSpec) -> None:
    layer = card.layer()
    images = images_of(spec)[:PROOF_INPUTS]
    classes = np.eye(3, dtype=np.float32)

    assert list(layer.agreements) == measured_precisions()
    exact = load_model(folder, engine="openvino").engine
    for name, found in layer.agreements.items():
        engine = load_model(folder, engine="openvino", precision=name).engine  # type: ignore[arg-type]
        correlations, same, kept = [], [], []
        for image in images:
            [activation] = exact.trunk(image[None])
            logits, gradient = run_tail(exact, [activation], np.zeros((1, 3), np.float32))
            theirs = (gradient.mean(axis=(2, 3), keepdims=True) * activation).sum(axis=1)[0]
            [activation] = engine.trunk(image[None])
            rounded, gradient = run_tail(engine, [activation], classes[logits.argmax(axis=1)])
            ours = (gradient.mean(axis=(2, 3), keepdims=True) * activation).sum(axis=1)[0]
            correlations.append(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
            same.append(ours.argmax() == theirs.argmax())
            kept.append(rounded.argmax() == logits.argmax())
        assert (found.images, found.engine) == (32, "openvino")
        assert found.correlation == pytest.approx(np.mean(correlations), abs=1e-6)
        assert found.least_correlation == pytest.approx(min(correlations), abs=1e-6)
        assert (found.same_maximum, found.top1_kept) == (np.mean(same), np.mean(kept))


def test_the_evaluation_function_runs_at_each_precision(card: Card) -> None:
    judged = [found.evaluation for found in card.layer().agreements.values()]

    assert card.evaluation is not None
    assert all(findings is not None and findings.keys() == card.evaluation.keys() for findings in judged)
    assert card.evaluation not in judged, "at a lower precision it saw other numbers"


def test_the_8_bit_trunk_is_an_ordinary_graph(folder: Path, card: Card) -> None:
    written = card.layer().trunk_int8
    assert written is not None
    assert (written.file, written.inputs, written.outputs) == (
        "trunk.int8.onnx",
        ("image",),
        card.layer().trunk.outputs,
    )
    graph = onnx.load(folder / written.file).graph

    assert "nncf" in card.made_with
    assert "QuantizeLinear" in {node.op_type for node in graph.node}
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert str(folder.parent).encode() not in (folder / written.file).read_bytes()


def test_openvino_and_onnx_runtime_run_the_8_bit_trunk_alike(folder: Path, card: Card) -> None:
    batch = mixed_calls(card, 1)[0].batch
    [exact] = load_model(folder, engine="openvino").engine.trunk(batch)
    [openvino] = load_model(folder, engine="openvino", precision="int8").engine.trunk(batch)
    [onnxruntime] = load_model(folder, engine="onnxruntime", precision="int8").engine.trunk(batch)

    scale = np.abs(exact).max()
    assert np.abs(openvino - exact).max() / scale > 1e-4, "it rounds"
    assert np.abs(openvino - onnxruntime).max() / scale < 0.1


def test_results_are_bit_identical_in_every_batch(folder: Path, card: Card) -> None:
    batch = np.random.default_rng(1).random((3, 3, *card.preprocess.shape), dtype=np.float32)
    for precision in measured_precisions():
        engine = load_model(folder, precision=precision).engine  # type: ignore[arg-type]
        [together] = engine.trunk(batch)

        assert all(np.array_equal(engine.trunk(batch[row : row + 1])[0][0], together[row]) for row in range(3))


def multiplies_8_bits() -> bool:
    """Tell whether the processor sums 8-bit products in 32 bits (VNNI); without it they saturate at 16 bits."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return not {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}.isdisjoint(flags)


@pytest.mark.skipif(not multiplies_8_bits(), reason="without VNNI, OpenVINO's 8-bit products saturate")
def test_openvino_runs_a_transformers_8_bit_trunk(tmp_path: Path) -> None:
    path = write(tmp_path, "vit", ["encoder.layers.encoder_layer_0"])

    layer = compile_model(path, tmp_path / "out", int8=True).layer()

    assert layer.tokens is not None
    assert 0.9 < layer.agreements["int8"].least_correlation < 0.99999


def test_the_facts_name_the_precisions(folder: Path) -> None:
    lines = [line.split()[0] for line in facts(folder)]

    assert set(measured_precisions()) <= set(lines)


def test_without_bfloat16_the_card_has_no_agreement_for_it(
    folder: Path, card: Card, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precisions, "has_bf16", lambda: False)

    again = precisions.measure(folder, card, images_of(spec), spec, int8=False)

    assert again.layer().agreements == {}


# ---------------------------------------------------------------------------------------------------------- images


def ranged_on(card: Card, images: Floats, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> Floats:
    """The images that the trunk's ranges are taken from."""
    taken: list[Floats] = []

    def noted(layer: Layer, images: Floats, _folder: Path) -> Any:  # noqa: ANN401 - a graph
        taken.append(images)
        return layer.trunk_int8

    monkeypatch.setattr(precisions, "quantize", noted)
    monkeypatch.setattr(precisions, "OpenVinoEngine", lambda *_, **__: None)
    monkeypatch.setattr(precisions, "_agreements", lambda *_: {})
    precisions.measure(Path(), card, images, spec, int8=True)
    return taken[0]


def test_ranges_are_taken_from_images_that_are_not_measured(
    card: Card, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = images_of(spec)

    taken = ranged_on(card, images, spec, monkeypatch)

    assert len(taken) >= 16
    assert not any(np.array_equal(one, other) for one in taken for other in images[:PROOF_INPUTS])


def test_synthetic_images_for_ranges_differ_from_the_proofs(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_spec(THREE_LOGITS.write(tmp_path))
    images = images_of(spec)

    taken = ranged_on(card, images, spec, monkeypatch)

    assert np.array_equal(taken, other_images(spec))
    assert not any(np.array_equal(one, other) for one in taken for other in images)


def test_rejects_too_few_images_for_int8(card: Card, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelFileError, match="returned 47 images: --int8 needs 48, because"):
        ranged_on(card, images_of(spec)[:47], spec, monkeypatch)


# -------------------------------------------------------------------------------------------------------- refusals


def test_rejects_int8_without_nncf_before_building_the_network(
    spec_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heatlens_torch.graph.quantize.find_spec", lambda _: None)
    monkeypatch.setattr("heatlens_torch.compile.build_network", lambda *_: pytest.fail("the network was built"))

    with pytest.raises(CompileError, match=r"needs NNCF and ONNX Runtime: pip install 'heatlens\[int8\]'"):
        compile_model(spec_path, tmp_path / "out", int8=True)


def test_a_trunk_that_cannot_be_quantized_is_reported_in_one_sentence(
    card: Card, spec: ModelSpec, tmp_path: Path
) -> None:
    check_quantizable()
    (tmp_path / card.layer().trunk.file).write_bytes(b"not a graph")

    with pytest.raises(CompileError, match="the trunk up to 'layer4' cannot be quantized: DecodeError"):
        quantize(card.layer(), images_of(spec)[:2], tmp_path)
