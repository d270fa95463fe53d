"""How often a request runs the network: a pass of the trunk is most of its work."""

import pytest
from starlette.testclient import TestClient

from heatlens.engines.openvino import OpenVinoEngine
from heatlens.types import Floats
from tests.functional.conftest import MakeClient
from tests.support.colors import CLASSES
from tests.support.images import encoded, noise

IMAGE = encoded(noise((24, 24)))
ROOT = "/api/inference"


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images of each pass of the trunk."""
    made = list[int]()
    trunk = OpenVinoEngine.trunk

    def counted(engine: OpenVinoEngine, batch: Floats) -> tuple[Floats, ...]:
        made.append(len(batch))
        return trunk(engine, batch)

    monkeypatch.setattr(OpenVinoEngine, "trunk", counted)
    return made


@pytest.fixture
def client(make_client: MakeClient, colours_folder: object, passes: list[int]) -> TestClient:
    """A client of a loaded function, whose passes at start are not counted."""
    client = make_client(model_dir=colours_folder)
    passes.clear()
    return client


def test_the_start_runs_each_layer_once(make_client: MakeClient, colours_folder: object, passes: list[int]) -> None:
    client = make_client(model_dir=colours_folder)
    [model] = client.app.state.heatlens.models.loaded.values()  # type: ignore[attr-defined]

    assert passes == [1] * len(model.card.layers)


@pytest.mark.parametrize("targets", [[], list(CLASSES[:1]), list(CLASSES[:3]), ["top-3"]])
def test_any_number_of_targets_share_one_pass(client: TestClient, passes: list[int], targets: list[str]) -> None:
    answer = client.post(f"{ROOT}/heatmap", params={"target": targets}, files={"file": IMAGE})

    assert answer.status_code == 200
    assert passes == [1]


def test_images_of_one_request_share_one_pass(client: TestClient, passes: list[int]) -> None:
    answer = client.post(f"{ROOT}/heatmap-batch", files=[("files", IMAGE)] * 3)

    assert [each["success"] for each in answer.json()["results"]] == [True] * 3
    assert passes == [3]


def test_scores_take_one_pass(client: TestClient, passes: list[int]) -> None:
    assert client.post(f"{ROOT}/predict", files={"file": IMAGE}).status_code == 200
    assert passes == [1]


def test_a_refused_request_takes_none(client: TestClient, passes: list[int]) -> None:
    assert client.post(f"{ROOT}/heatmap", files={"file": b"no image"}).status_code == 400
    assert client.post(f"{ROOT}/heatmap", params={"target": "nobody"}, files={"file": IMAGE}).status_code == 422
    assert passes == []
