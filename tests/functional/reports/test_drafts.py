"""A draft: compiled without its proof, for trying things out, and loaded by no server."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

import heatlens
from functions.endpoint.app import create_app as create_endpoint
from heatlens.card import DRAFT, read_card
from heatlens.errors import CardError, CompileError, ModelFileError
from heatlens.model import load_model
from heatlens.registry import load_models
from heatlens.settings import Settings
from heatlens_cli.inspect import facts
from heatlens_cli.main import app as command
from heatlens_torch.compile import compile_model
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.functional.compile.test_compile import ONE_LOGIT
from tests.support.images import encoded, noise
from tests.support.paths import ROOT
from tests.support.tiny import write_tiny_model

REFUSED = (
    "'model' is a draft, whose maps were not proven, and servers load proven models only: compile it without --draft: "
    "heatlens compile WHAT -o model --force"
)


@pytest.fixture(scope="module")
def stages() -> list[str]:
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, stages: list[str]) -> Path:
    home = tmp_path_factory.mktemp("draft")
    compile_model(ONE_LOGIT.write(home), home / "model", draft=True, progress=stages.append)
    return home / "model"


def test_the_card_says_so_and_has_no_proof(folder: Path, stages: list[str]) -> None:
    card, _ = read_card(folder)

    assert card.draft
    assert stages == ["building the network", "exporting, cut at layer4"]
    [layer] = card.layers
    assert (layer.parity, layer.calibration, layer.sanity, layer.golden, layer.cost) == (None,) * 5
    with pytest.raises(CardError, match="is a draft: 'layer4' was not proven; compile it without --draft"):
        _ = card.parity


def test_a_card_without_a_proof_is_invalid_unless_it_is_a_draft(folder: Path, tmp_path: Path) -> None:
    copy = write_tiny_model(tmp_path / "tiny")
    fields = json.loads((copy / "card.json").read_text())
    fields["layers"][0]["parity"] = None
    (copy / "card.json").write_text(json.dumps(fields))

    with pytest.raises(CardError, match="has no parity, and this is no draft"):
        read_card(copy)


def test_python_explains_with_a_warning(folder: Path) -> None:
    with pytest.warns(UserWarning, match=DRAFT):
        explainer = heatlens.Explainer.load(folder)

    assert explainer.explain(noise((48, 48))).signed_map.shape == (12, 12)


def test_the_commands_show_a_notice(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(noise((48, 48))))

    done = CliRunner().invoke(
        command, ["explain", "--model", str(folder), str(tmp_path / "a.png"), "-o", str(tmp_path)]
    )

    assert done.exit_code == 0, done.output
    assert f"warning: {DRAFT}" in done.output
    assert f"proven      {DRAFT}" in list(facts(folder))


def test_no_server_loads_it(folder: Path) -> None:
    with pytest.raises(CardError, match=REFUSED):
        load_model(folder)
    [error] = load_models(Settings(model_dir=folder)).by_name.values()
    assert isinstance(error, CardError)
    assert str(error) == REFUSED


@pytest.fixture(params=["lambda", "server"])
def client(request: pytest.FixtureRequest, folder: Path) -> Iterator[TestClient]:
    app = create_app(ServerSettings(model_dir=folder), deployment=request.param)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_the_api_refuses_and_says_how_to_prove_it(client: TestClient) -> None:
    health = client.get("/api/inference/health").json()

    assert (health["status"], health["reason"]) == ("unhealthy", REFUSED)
    files = {"file": ("a.png", encoded(noise((48, 48))))}
    problem(client.post("/api/inference/heatmap", files=files), 503, "model.unavailable")


def test_the_endpoint_does_not_answer_pings(folder: Path) -> None:
    with TestClient(create_endpoint(ServerSettings(model_dir=folder))) as client:
        assert client.get("/ping").status_code == 503


def test_an_image_with_a_draft_is_not_built(folder: Path, tmp_path: Path) -> None:
    script = ROOT / "infra" / "image" / "refuse_draft.sh"
    proven = write_tiny_model(tmp_path / "tiny")

    refused, built = (
        subprocess.run(["sh", script, each], capture_output=True, check=False, text=True) for each in (folder, proven)
    )

    assert (refused.returncode, built.returncode) == (1, 0)
    assert "is a draft, whose maps were not proven: heatlens compile WHAT -o MODEL without --draft" in refused.stderr


def test_a_draft_does_not_replace_a_proven_model(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")

    with pytest.raises(ModelFileError, match="is a proven model, which a draft does not replace"):
        compile_model(ONE_LOGIT.write(tmp_path), tmp_path / "model", draft=True)


def test_a_draft_has_no_8_bits(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="leave out --int8 or --draft"):
        compile_model(ONE_LOGIT.write(tmp_path), tmp_path / "model", draft=True, int8=True)
