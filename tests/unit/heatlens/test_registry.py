import threading
from pathlib import Path

import pytest

from heatlens.card import Card
from heatlens.engines.base import Engine
from heatlens.engines.memory_estimate import estimate_bytes
from heatlens.engines.resources import Machine
from heatlens.errors import CardError, EngineError, InvalidOption, Mistake, ModelUnavailable, SettingsError
from heatlens.model import Model, load_by_settings
from heatlens.registry import ModelRegistry, load_models, loading
from heatlens.settings import DEMO_MODEL, Settings
from tests.support.colors import write_colors_model
from tests.support.tiny import write_tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder of two models and the hidden folders of a mount."""
    models = tmp_path / "models"
    write_tiny_model(models / "grey")
    write_colors_model(models / "colours")
    (models / "..data").mkdir()
    (models / "README").write_text("none")
    return models


def test_one_folder_is_one_model_and_the_default(tiny_folder: Path) -> None:
    models = load_models(Settings(model_dir=tiny_folder))

    assert list(models.by_name) == [models.default] == ["tiny"]
    assert models[None] is models["tiny"]
    assert models[None].card.name == "tiny"


def test_without_any_setting_it_is_the_demo_model() -> None:
    assert list(load_models(Settings()).by_name) == [DEMO_MODEL.name]


def test_models_have_the_names_of_their_folders_and_the_first_is_the_default(folder: Path) -> None:
    models = load_models(Settings(models_dir=folder))

    assert list(models.by_name) == ["colours", "grey"]
    assert models.default == "colours"
    assert models["grey"].card.name == "tiny"


def test_the_default_may_be_one_of_them_or_another(folder: Path, tiny_folder: Path) -> None:
    assert list(load_models(Settings(models_dir=folder, model_dir=folder / "grey")).by_name) == ["grey", "colours"]
    assert list(load_models(Settings(models_dir=folder, model_dir=tiny_folder)).by_name) == ["tiny", "colours", "grey"]


def test_rejects_two_folders_of_one_name(folder: Path, tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "other" / "grey")

    with pytest.raises(SettingsError, match="MODELS_DIR: the default model is called 'grey' too"):
        load_models(Settings(models_dir=folder, model_dir=other))


@pytest.mark.provokes("model.settings")
def test_rejects_a_missing_folder_of_models(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="HEATLENS_MODELS_DIR: no folder 'nowhere'") as refused:
        load_models(Settings(models_dir=tmp_path / "nowhere"))
    assert str(tmp_path) not in str(refused.value)


def test_an_empty_folder_of_models_leaves_the_default(tmp_path: Path) -> None:
    assert list(load_models(Settings(models_dir=tmp_path)).by_name) == [DEMO_MODEL.name]


def test_a_broken_model_does_not_affect_the_others(folder: Path) -> None:
    (folder / "grey" / "tail.onnx").write_bytes(b"altered")

    models = load_models(Settings(models_dir=folder))

    assert list(models.loaded) == ["colours"]
    assert isinstance(models.failures["grey"], CardError)
    with pytest.raises(ModelUnavailable, match="the model 'grey' is not loaded: see /api/inference/health"):
        models["grey"]


def test_models_must_fit_the_memory_together(folder: Path) -> None:
    each = [load_models(Settings(model_dir=folder / name))[None].file_bytes for name in ("colours", "grey")]
    enough = estimate_bytes(sum(each))

    assert load_models(Settings(models_dir=folder), machine=Machine(enough)).failures == {}
    models = load_models(Settings(models_dir=folder), machine=Machine(enough - 1))

    assert list(models.loaded) == ["colours"]
    assert isinstance(models.failures["grey"], EngineError)
    assert "the model and those loaded before it need about" in str(models.failures["grey"])


def test_the_error_of_an_unknown_model_lists_the_known_ones(tiny_folder: Path) -> None:
    models = load_models(Settings(model_dir=tiny_folder))

    with pytest.raises(InvalidOption, match="model: no model 'other' here: tiny") as refused:
        models["other"]
    assert refused.value.mistakes == (Mistake("model", "no model 'other' here: tiny", "unknown_model"),)


def test_the_error_of_a_single_broken_model_does_not_name_it() -> None:
    models = ModelRegistry.of(CardError("altered"))

    with pytest.raises(ModelUnavailable, match=r"^the model is not loaded: see"):
        models[None]


def test_each_failure_is_logged_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    error = CardError("altered")
    error.__cause__ = ValueError("digest")

    ModelRegistry.of(error, "grey").log_failures()

    assert caplog.messages == ["the model is not loaded: grey: altered (cause: ValueError('digest'))"]


def test_the_slowdown_is_measured_when_an_estimate_first_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = list[Engine]()

    def measure(engine: Engine, _: Card) -> float:
        measured.append(engine)
        return 2.0

    monkeypatch.setattr("heatlens.model.measure_slowdown", measure)

    model = load_models(Settings())[None]

    assert measured == []
    assert (model.slowdown(), model.slowdown()) == (2.0, 2.0)
    assert measured == [model.engine]


def test_models_are_loaded_by_a_thread_while_the_block_runs(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, began = threading.Event(), threading.Event()

    def load(*arguments: object, **named: object) -> Model:
        began.set()
        assert here.wait(60)
        return load_by_settings(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("heatlens.registry.load_by_settings", load)
    with loading(Settings(model_dir=tiny_folder)) as models:
        assert began.wait(60)
        assert not models.done()
        here.set()

    assert models.done(), "the end of the block waits"
    assert list(models.result().loaded) == ["tiny"]


def test_the_error_of_a_thread_that_loads_is_that_of_loading(tmp_path: Path) -> None:
    with loading(Settings(models_dir=tmp_path / "nowhere")) as models, pytest.raises(SettingsError):
        models.result()
