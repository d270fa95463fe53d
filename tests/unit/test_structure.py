"""Where things lie: every module has a test of its name or a test that is named here, and every test its module."""

from pathlib import Path

import pytest

from tests.support.paths import ROOT

UNIT, FUNCTIONAL, CONTRACT = (ROOT / "tests" / name for name in ("unit", "functional", "contract"))
# Modules without a test of their name, and the test that covers each.
COVERED = {
    "heatlens/client/async_batch.py": "functional/client/test_staged_batches.py",
    "heatlens/client/async_client.py": "functional/client/test_staged_faults.py",
    "heatlens/client/batch_calls.py": "functional/client/test_staged_faults.py",
    "heatlens/client/batch_steps.py": "functional/client/test_staged_faults.py",
    "heatlens/client/calls.py": "functional/client/test_answers.py",
    "heatlens/client/sync_batch.py": "functional/client/test_staged_batches.py",
    "heatlens/client/sync_client.py": "functional/client/test_faults.py",
    "heatlens/dicom_out/codes.py": "functional/dicom_out/test_segmentation.py",
    "heatlens/dicom_out/source.py": "functional/dicom_out/test_write.py",
    "heatlens/dicom_out/subject.py": "functional/dicom_out/test_write.py",
    "heatlens/draw.py": "unit/heatlens/test_pipeline.py",
    "heatlens/evaluate/contours.py": "unit/heatlens/evaluate/test_regions.py",
    "heatlens/evaluate/masking.py": "unit/heatlens/evaluate/test_faithfulness.py",
    "heatlens/explain/perturbation.py": "unit/heatlens/explain/test_attribution.py",
    "heatlens/input/dicom/describe.py": "functional/reports/test_dicom_files.py",
    "heatlens/input/dicom/details.py": "functional/reports/test_dicom_files.py",
    "heatlens/input/dicom/frame.py": "unit/heatlens/input/test_dicom.py",
    "heatlens/input/dicom/frame_count.py": "unit/heatlens/input/test_dicom_frames.py",
    "heatlens/input/dicom/levels.py": "unit/heatlens/input/test_dicom.py",
    "heatlens/input/dicom/numbers.py": "functional/reports/test_dicom_files.py",
    "heatlens/input/dicom/parse.py": "unit/heatlens/input/test_dicom_hostile.py",
    "heatlens/input/dicom/values.py": "functional/reports/test_dicom_files.py",
    "heatlens/input/dicom_signature.py": "functional/reports/test_dicom_files.py",
    "heatlens/input/high_bit_depth.py": "unit/heatlens/input/test_grey_levels.py",
    "heatlens/model.py": "unit/heatlens/test_registry.py",
    "heatlens/plan.py": "unit/heatlens/test_pipeline.py",
    "heatlens/types.py": "unit/heatlens/test_pipeline.py",
    "heatlens/cost.py": "unit/heatlens_aws/test_invocation_time.py",
    "heatlens_aws/clients.py": "staging/test_objects.py",
    "heatlens_aws/records.py": "unit/heatlens_aws/test_batch_table.py",
    "heatlens_aws/sagemaker_async.py": "functional/batch/test_sagemaker_path.py",
    "heatlens_cli/atomic_file.py": "functional/cli/test_batch_failures.py",
    "heatlens_cli/batch/commands.py": "functional/cli/test_batch_commands.py",
    "heatlens_cli/batch/follow.py": "functional/cli/test_batch_commands.py",
    "heatlens_cli/batch/client.py": "functional/cli/test_batch_run.py",
    "heatlens_cli/batch/download.py": "functional/cli/test_batch_run.py",
    "heatlens_cli/batch/fetch.py": "functional/cli/test_batch_run.py",
    "heatlens_cli/batch/journal.py": "functional/cli/test_batch_run.py",
    "heatlens_cli/batch/names.py": "functional/cli/test_batch_run.py",
    "heatlens_cli/batch/progress_lines.py": "functional/cli/test_batch_commands.py",
    "heatlens_cli/batch/run.py": "functional/cli/test_batch_run.py",
    "heatlens_cli/batch/send.py": "functional/cli/test_batch_run.py",
    "heatlens_cli/clear_errors.py": "functional/cli/test_cli.py",
    "heatlens_cli/events/http_events.py": "contract/test_conformance.py",
    "heatlens_cli/events/object_events.py": "unit/heatlens_cli/events/test_make_event.py",
    "heatlens_cli/__main__.py": "functional/cli/test_serve_workers.py",
    "heatlens_cli/bench.py": "functional/cli/test_machine.py",
    "heatlens_cli/commands/dev.py": "functional/cli/test_cli.py",
    "heatlens_cli/commands/explain.py": "functional/cli/test_cli.py",
    "heatlens_cli/commands/operations.py": "functional/cli/test_redrive.py",
    "heatlens_cli/commands/serve.py": "functional/cli/test_cli.py",
    "heatlens_cli/dicom/commands.py": "functional/dicom_pacs/test_watch_failures.py",
    "heatlens_cli/dicom/failures.py": "unit/heatlens_cli/dicom/test_pacs.py",
    "heatlens_cli/doctor.py": "functional/cli/test_machine.py",
    "heatlens_cli/load.py": "functional/cli/test_all_commands.py",
    "heatlens_cli/predict_files.py": "functional/cli/test_cli.py",
    "heatlens_cli/cost/take_figures.py": "functional/cli/test_machine.py",
    "heatlens_cli/explain.py": "functional/cli/test_cli.py",
    "heatlens_cli/explain_files.py": "functional/cli/test_cli.py",
    "heatlens_cli/file_explanation.py": "functional/cli/test_cli.py",
    "heatlens_cli/init_model.py": "functional/compile/test_spec.py",
    "heatlens_cli/inspect.py": "functional/cli/test_cli.py",
    "heatlens_cli/invoke.py": "functional/cli/test_cli.py",
    "heatlens_cli/main.py": "functional/cli/test_cli.py",
    "heatlens_cli/progress.py": "functional/cli/test_batch_run.py",
    "heatlens_cli/serve.py": "functional/cli/test_cli.py",
    "heatlens_cli/verify/file.py": "functional/cli/test_verify.py",
    "heatlens_cli/verify/manifest.py": "functional/cli/test_verify.py",
    "heatlens_cli/verify/run.py": "functional/cli/test_verify.py",
    "heatlens_cli/worker_pool.py": "functional/cli/test_batch_resume.py",
    "heatlens_torch/demo/anatomy.py": "unit/heatlens_torch/demo/test_phantoms.py",
    "heatlens_torch/demo/evaluate.py": "functional/compile/test_demo_training.py",
    "heatlens_torch/demo/grain.py": "unit/heatlens_torch/demo/test_phantoms.py",
    "heatlens_torch/demo/losses.py": "functional/compile/test_demo_training.py",
    "heatlens_torch/demo/markers.py": "unit/heatlens_torch/demo/test_phantoms.py",
    "heatlens_torch/demo/network.py": "functional/compile/test_demo_training.py",
    "heatlens_torch/demo/opacities.py": "unit/heatlens_torch/demo/test_phantoms.py",
    "heatlens_torch/demo/pixels.py": "functional/compile/test_demo_training.py",
    "heatlens_torch/demo/pool.py": "functional/compile/test_demo_training.py",
    "heatlens_torch/demo/samples.py": "functional/compile/test_demo_training.py",
    "heatlens_torch/demo/signed_map.py": "functional/compile/test_demo_training.py",
    "heatlens_torch/demo/train.py": "functional/compile/test_demo_training.py",
    "heatlens_torch/engine.py": "functional/compile/test_torch_engine.py",
    "heatlens_torch/graph/cut.py": "functional/compile/test_compile.py",
    "heatlens_torch/graph/cut_layer.py": "functional/compile/test_layers.py",
    "heatlens_torch/graph/differentiate.py": "functional/compile/test_compile.py",
    "heatlens_torch/graph/export.py": "functional/compile/test_layers.py",
    "heatlens_torch/graph/grids.py": "functional/compile/test_layers.py",
    "heatlens_torch/graph/onnx_graph.py": "functional/compile/test_compile.py",
    "heatlens_torch/graph/probe.py": "functional/compile/test_layers.py",
    "heatlens_torch/graph/quantize.py": "functional/compile/test_precisions.py",
    "heatlens_torch/loading/built_network.py": "unit/heatlens_torch/loading/test_network.py",
    "heatlens_torch/loading/call_modes.py": "unit/heatlens_torch/loading/test_in_place.py",
    "heatlens_torch/loading/exported_program.py": "functional/compile/test_sources.py",
    "heatlens_torch/loading/onnx_files/batch.py": "unit/heatlens_torch/loading/onnx_files/test_network.py",
    "heatlens_torch/loading/onnx_files/original.py": "functional/compile/test_onnx_files.py",
    "heatlens_torch/loading/pickle_scan.py": "unit/heatlens_torch/loading/test_checkpoints.py",
    "heatlens_torch/loading/saved_network.py": "functional/compile/test_sources.py",
    "heatlens_torch/loading/sources/base.py": "unit/heatlens_torch/loading/test_described.py",
    "heatlens_torch/loading/sources/exported.py": "functional/compile/test_sources.py",
    "heatlens_torch/loading/sources/recipe.py": "unit/heatlens_torch/loading/sources/test_hf_processor.py",
    "heatlens_torch/loading/sources/registry.py": "unit/heatlens_torch/loading/test_described.py",
    "heatlens_torch/loading/sources/torchvision_names.py": "functional/compile/test_sources.py",
    "heatlens_torch/loading/synthetic.py": "functional/compile/test_sources.py",
    "heatlens_torch/loading/template.py": "functional/compile/test_spec.py",
    "heatlens_torch/loading/torchvision_weights.py": "functional/compile/test_sources.py",
    "heatlens_torch/loading/zoo.py": "functional/compile/test_sources.py",
    "heatlens_torch/proof/method_names.py": "functional/compile/test_torch_engine.py",
    "heatlens_torch/proof/parity.py": "functional/compile/test_compile.py",
    "heatlens_torch/proof/randomize.py": "unit/heatlens_torch/proof/test_sanity.py",
    "heatlens_torch/reports/methods_table.py": "unit/test_docs.py",
    "heatlens_torch/reports/families.py": "unit/heatlens_torch/reports/test_families_table.py",
    "heatlens_torch/reports/family_rows.py": "unit/heatlens_torch/reports/test_families_table.py",
    "heatlens_torch/reports/hf_families.py": "unit/heatlens_torch/reports/test_hf_table.py",
    "heatlens_torch/reports/parity_table.py": "unit/test_docs.py",
    "heatlens_torch/uncompiled.py": "functional/compile/test_compile.py",
    "heatlens_web/app.py": "functional/api/test_start.py",
    "heatlens_web/batches/routes.py": "functional/api/test_batches.py",
    "heatlens_web/batches/service.py": "functional/api/test_batches.py",
    "heatlens_web/connections.py": "functional/reports/test_slow_clients.py",
    "heatlens_web/context.py": "contract/test_limits.py",
    "heatlens_web/decode_worker.py": "unit/heatlens_web/test_decode_pool.py",
    "heatlens_web/deliver.py": "functional/api/test_heatmap.py",
    "heatlens_web/http_server.py": "functional/reports/test_slow_clients.py",
    "heatlens_web/inference.py": "functional/api/test_heatmap.py",
    "heatlens_web/kserve_v2.py": "functional/reports/test_endpoints.py",
    "heatlens_web/lambda_handler.py": "functional/api/test_emulator.py",
    "heatlens_web/observe.py": "unit/heatlens_web/test_access.py",
    "heatlens_web/model_info.py": "functional/api/test_models.py",
    "heatlens_web/port.py": "functional/endpoint/test_healthcheck.py",
    "heatlens_web/routes.py": "functional/api/test_heatmap.py",
    "heatlens_web/schemas/answer.py": "contract/test_base_schema.py",
    "heatlens_web/schemas/bodies.py": "contract/test_base_schema.py",
    "heatlens_web/schemas/health.py": "contract/test_base_schema.py",
    "heatlens_web/schemas/model_info.py": "contract/test_base_schema.py",
    "heatlens_web/schemas/predict.py": "contract/test_base_schema.py",
    "heatlens_web/schemas/problem.py": "contract/test_base_schema.py",
    "heatlens_web/disconnects.py": "functional/reports/test_overload.py",
    "heatlens_web/server_state.py": "functional/reports/test_overload.py",
    "heatlens_web/slow_bodies.py": "functional/reports/test_slow_clients.py",
    "heatlens_web/state.py": "functional/api/test_start.py",
    "heatlens_web/tensors.py": "functional/reports/test_endpoints.py",
    "heatlens_web/upload.py": "functional/api/test_bad_input.py",
    "functions/api/handler.py": "functional/api/test_emulator.py",
    "functions/batch/async_collect.py": "functional/batch/test_sagemaker_path.py",
    "functions/batch/async_response.py": "functional/batch/test_sagemaker_path.py",
    "functions/batch/async_submit.py": "functional/batch/test_sagemaker_path.py",
    "functions/batch/context.py": "functional/batch/test_worker.py",
    "functions/batch/deliver.py": "functional/batch/test_worker.py",
    "functions/batch/destinations.py": "functional/batch/test_worker.py",
    "functions/batch/handler.py": "functional/batch/test_worker.py",
    "functions/batch/requeue.py": "functional/batch/test_worker.py",
    "functions/batch/sweep.py": "functional/batch/test_sweeper.py",
    "functions/batch/tasks.py": "functional/batch/test_worker.py",
    "functions/endpoint/app.py": "functional/endpoint/test_endpoint.py",
    "functions/endpoint/serve.py": "functional/endpoint/test_shutdown.py",
}
# Unit tests of no single module, and what they test instead.
CROSS_CUTTING = {
    "heatlens/input/test_dicom_frames.py": "frames of DICOM files",
    "heatlens/input/test_dicom_hostile.py": "files that attack the DICOM reader",
    "heatlens/test_metadata.py": "no stage keeps metadata of the input",
    "heatlens/test_properties.py": "properties of all stages, with generated inputs",
    "infra/test_dockerfile.py": "infra/Dockerfile",
    "test_docs.py": "documents and tables",
    "test_import_contracts.py": "the import contracts in pyproject.toml",
    "test_structure.py": "where things lie",
}


def modules() -> dict[str, Path]:
    """Every module of functions/ and layers/, by the path of its tests below tests/unit."""
    return {
        path.relative_to(base).as_posix(): path
        for base, folder in ((ROOT / "layers", ROOT / "layers"), (ROOT, ROOT / "functions"))
        for path in sorted(folder.rglob("*.py"))
        if path.name != "__init__.py"
    }


def unit_test(module: str) -> Path:
    path = Path(module)
    return UNIT / path.parent / f"test_{path.name}"


def has_own_test(module: str) -> bool:
    name = f"test_{Path(module).name}"
    return unit_test(module).exists() or any(list(folder.rglob(name)) for folder in (FUNCTIONAL, CONTRACT))


def unit_tests() -> list[str]:
    """Every test of the packages, relative to tests/unit; those of templates and tools mirror infra/."""
    paths = [path.relative_to(UNIT) for path in sorted(UNIT.rglob("test_*.py"))]
    return [path.as_posix() for path in paths if path.parts[0] != "templates"]


def named_after(test: str) -> list[Path]:
    """The module or package that a test is named after, in each place where it may be."""
    path = Path(test)
    name = path.parent / path.name.removeprefix("test_").removesuffix(".py")
    return [ROOT / base / name.with_suffix(suffix) for base in ("", "layers") for suffix in (".py", "")]


def test_the_top_level_folders_are_those_of_the_layout() -> None:
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}

    assert folders - ignored == {"functions", "infra", "layers", "tests"}


@pytest.mark.parametrize("module", modules())
def test_a_module_has_a_test_of_its_name_or_one_that_is_named_here(module: str) -> None:
    assert has_own_test(module) or module in COVERED, (
        f"add {unit_test(module).relative_to(ROOT)}, or name the test that covers {module} in COVERED"
    )


@pytest.mark.parametrize(("module", "test"), COVERED.items())
def test_the_covered_modules_exist_and_have_no_test_of_their_name(module: str, test: str) -> None:
    assert module in modules(), "no such module: remove it from COVERED"
    assert (ROOT / "tests" / test).exists(), f"no such test: {test}"
    assert not has_own_test(module), "it has a test of its name: remove it from COVERED"


@pytest.mark.parametrize("test", unit_tests())
def test_a_unit_test_is_named_after_a_module_or_is_cross_cutting(test: str) -> None:
    assert any(path.exists() for path in named_after(test)) or test in CROSS_CUTTING, (
        "rename the test as its module, or name what it tests in CROSS_CUTTING"
    )


def test_the_cross_cutting_tests_exist() -> None:
    assert set(CROSS_CUTTING) <= set(unit_tests())


def test_helpers_of_tests_lie_in_support() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in (UNIT, FUNCTIONAL)
        for path in folder.rglob("*.py")
        if path.name not in ("__init__.py", "conftest.py") and not path.name.startswith("test_")
    ]

    assert found == []


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}

    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
