"""A network that cannot be differentiated: refused with its operator, or compiled for maps without gradients."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from torch import nn
from typer.testing import CliRunner

import heatlens
from heatlens.card import Card, Tokens, read_card
from heatlens.errors import CompileError, InvalidOption
from heatlens.explain.attribution import GRADIENT_FREE
from heatlens.types import Floats
from heatlens_cli.inspect import facts
from heatlens_cli.main import app as command
from heatlens_torch.compile import compile_model
from heatlens_torch.graph.layers import default_layer
from heatlens_torch.graph.probe import probe
from heatlens_torch.loading.network import build_network, stack
from heatlens_torch.loading.spec import read_spec
from heatlens_torch.loading.synthetic import images
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.functional.compile.test_compile import Description, stage
from tests.functional.compile.test_layers import write
from tests.support.images import encoded

SIDE, GRID = 48, 6
URL = "/api/inference/heatmap"
CLASSES = ["a", "b", "c"]


class NoBackward(torch.autograd.Function):
    """A function of the owner's that was written for inference alone."""

    @staticmethod
    def forward(_context: object, value: torch.Tensor) -> torch.Tensor:
        return torch.tanh(value)


class Quantized(nn.Module):
    """A classifier whose pooled features lose their gradient, each in a way that people have."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.features = nn.Sequential(stage(3, 8, stride=4), stage(8, 16, stride=2))
        self.head = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3, bias=False))
        self.how = how

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pooled = self.features(image).mean(dim=(2, 3))
        if self.how == "no_grad":
            with torch.no_grad():
                return torch.as_tensor(self.head(pooled))
        changed: dict[str, Callable[[], torch.Tensor]] = {
            "round": lambda: torch.round(pooled * 256) / 256,
            "integers": lambda: (pooled * 256).to(torch.int32).float() / 256,
            "detach": lambda: pooled.detach(),
            "function": lambda: NoBackward.apply(pooled),
            "smooth": lambda: pooled,
        }
        return torch.as_tensor(self.head(changed[self.how]()))


def quantized(how: str = "round") -> nn.Module:
    return Quantized(how)


def describe(folder: Path, how: str, **more: str) -> Path:
    return Description(
        architecture=f"{__name__}:quantized",
        arguments={"how": how},
        classes=CLASSES,
        layer="features",
        pixels=SIDE,
        more={"inputs": f"{__name__}:pictures", **more},
    ).write(folder)


def pictures(count: int) -> list[object]:
    return list(images(count, size=(SIDE, SIDE), seed=5))


def declared(path: Path) -> Path:
    path.write_text("gradients = false\n" + path.read_text())
    return path


REFUSED = {
    "round": "operator round (test_no_gradients.py:",
    "integers": "operator to (test_no_gradients.py:",
    "detach": "operator detach (test_no_gradients.py:",
    "no_grad": "operator linear under no_grad() (test_no_gradients.py:",
}
WAY_OUT = "compile it for maps without gradients, by Recipro-CAM: --no-gradients (in model.toml gradients = false)"


def choose_layer(network: nn.Module) -> object:
    return default_layer(network, (SIDE, SIDE))


def probe_named_layer(network: nn.Module) -> object:
    return probe(network, "features", torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("how", REFUSED)
@pytest.mark.parametrize("look", [choose_layer, probe_named_layer])
def test_the_refusal_names_the_operator_and_the_way_out(how: str, look: Callable[[nn.Module], object]) -> None:
    with pytest.raises(CompileError) as refused:
        look(quantized(how).eval())

    assert REFUSED[how] in str(refused.value)
    assert WAY_OUT in str(refused.value)
    assert "Error:" not in str(refused.value)


def test_a_function_without_a_backward_is_refused_with_the_way_out() -> None:
    with pytest.raises(CompileError, match="cannot be differentiated: NotImplementedError") as refused:
        default_layer(quantized("function").eval(), (SIDE, SIDE))

    assert WAY_OUT in str(refused.value)


@pytest.mark.parametrize("how", [*REFUSED, "function"])
def test_the_default_layer_without_gradients_is_that_of_the_smooth_network(how: str) -> None:
    layer = default_layer(quantized(how).eval(), (SIDE, SIDE), gradients=False)

    assert layer == default_layer(quantized("smooth").eval(), (SIDE, SIDE)) == "features"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("quantized")
    compile_model(declared(describe(home, "round")), home / "model")
    return home / "model"


@pytest.fixture(scope="module")
def card(folder: Path) -> Card:
    return read_card(folder)[0]


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    app = create_app(ServerSettings(model_dir=folder), deployment="server")
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def png() -> bytes:
    return encoded(images(1, size=(SIDE, SIDE), seed=11)[0])


def by_masked_runs(network: nn.Module, image: Floats) -> Floats:
    """Recipro-CAM of the predicted class, with each mask written out, and the network run once for each."""
    activation = network.features(torch.from_numpy(image))  # type: ignore[operator]

    def logits(masked: torch.Tensor) -> torch.Tensor:
        pooled = torch.round(masked.mean(dim=(2, 3)) * 256) / 256
        return network.head(pooled)[0]  # type: ignore[operator,no-any-return]

    with torch.no_grad():
        best = int(logits(activation).argmax())
        nothing = logits(torch.zeros_like(activation))[best]
        found = np.empty((GRID, GRID), np.float32)
        for row in range(GRID):
            for column in range(GRID):
                masked = torch.zeros_like(activation)
                for i in range(GRID):
                    for j in range(GRID):
                        apart = (abs(i - row), abs(j - column))
                        if max(apart) <= 1:
                            masked[..., i, j] = activation[..., i, j] / 2 ** (2 + sum(apart))
                found[row, column] = logits(masked)[best] - nothing
    return found


def test_the_card_says_that_there_are_no_gradients_and_what_was_proven(card: Card) -> None:
    [layer] = card.layers
    assert (card.gradients, card.default_method, card.methods) == (False, "reciprocam", GRADIENT_FREE)
    assert layer.tail.outputs == ("logits",)
    assert "selector" not in layer.tail.inputs
    assert (card.parity.inputs, card.parity.gradient) == (32, None)
    assert card.parity.largest < 1e-4
    assert card.parity.reference.startswith("Recipro-CAM by one masked run per cell in PyTorch ")
    assert (layer.calibration, list(layer.calibrations)) == (None, ["reciprocam"])
    assert layer.sanity is not None
    assert layer.golden is not None
    assert layer.cost is not None


def test_the_map_is_that_of_masked_runs_in_plain_pytorch(folder: Path) -> None:
    spec = read_spec(folder.parent / "model.toml")
    network = build_network(spec, folder.parent).network
    explainer = heatlens.Explainer.load(folder)

    for picture in images(6, size=(SIDE, SIDE), seed=21):
        explanation = explainer.explain(picture)
        expected = by_masked_runs(network, stack([picture], spec.preprocess))
        assert explanation.signed_map == pytest.approx(expected, abs=1e-4 * float(np.abs(expected).max()))
        assert np.ptp(expected) > 0


def test_a_transformer_keeps_its_class_token(tmp_path: Path) -> None:
    at = "tests.functional.compile.test_layers"
    compile_model(declared(write(tmp_path, "vit", None, at=at)), tmp_path / "model")

    card, _ = read_card(tmp_path / "model")
    assert card.layers[0].tokens == Tokens(order="rows", before=1)
    # The cells, and beside them the class token and the residual.
    assert card.layers[0].tail.inputs == ("activation", "crossing.0", "crossing.1")
    assert card.parity.largest < 1e-4
    assert card.default_method == "reciprocam"


def test_inspect_prints_it(folder: Path) -> None:
    printed = "\n".join(facts(folder))

    assert "gradients   none, as declared: the default method is reciprocam" in printed
    assert "equals Recipro-CAM by one masked run per cell in PyTorch" in printed
    assert "calibration features: peaks of reciprocam on 64 images" in printed
    assert "golden      passed" in printed


def test_the_api_answers_by_reciprocam_and_says_so(client: TestClient, png: bytes) -> None:
    answer = client.post(URL, files={"file": ("a.png", png)}, params={"include": "map,overlay,faithfulness"}).json()

    assert answer["model"]["method"] == "reciprocam"
    assert answer["quality"] in ("ok", "weak")
    assert answer["map"]["shape"] == [GRID, GRID]
    assert answer["faithfulness"] is not None
    [health] = client.get("/api/inference/health").json()["models"]
    assert (health["method"], health["golden"]["status"]) == ("reciprocam", "passed")
    [described] = client.get("/api/inference/models").json()["models"]
    assert (described["gradients"], described["methods"]) == (False, list(GRADIENT_FREE))
    assert described["layers"][0]["parity"]["gradient"] is None
    assert described["layers"][0]["calibration"]["images"] == 64


@pytest.mark.parametrize("method", ["gradcam", "gradcam%2B%2B", "layercam", "eigengradcam"])
def test_a_gradient_method_is_refused_with_those_that_work(client: TestClient, png: bytes, method: str) -> None:
    body = problem(client.post(f"{URL}?method={method}", files={"file": ("a.png", png)}), 422, "request.invalid")

    assert body["errors"][0]["msg"] == (
        f"{method.replace('%2B', '+')} needs gradients, and the model was compiled without: one of "
        "reciprocam, ablationcam, scorecam, eigencam"
    )


@pytest.mark.parametrize("method", GRADIENT_FREE)
@pytest.mark.parametrize("query", ["target=b&contrast=c&include=map,regions", "target=a|b&aug_smooth=true"])
def test_the_other_methods_work_with_targets_groups_and_contrast(
    client: TestClient, png: bytes, method: str, query: str
) -> None:
    response = client.post(f"{URL}?method={method}&{query}&colormap=coolwarm", files={"file": ("a.png", png)})

    assert response.status_code == 200, response.text
    assert response.json()["model"]["method"] == method


def test_the_absolute_scale_and_batches_work(client: TestClient, png: bytes) -> None:
    files = [("files", (f"{index}.png", png)) for index in range(3)]
    answer = client.post(f"{URL}-batch?scale=absolute", files=files).json()

    assert [result["success"] for result in answer["results"]] == [True] * 3
    assert len({result["heatmap_base64"] for result in answer["results"]}) == 1


def test_a_contrast_is_the_difference_of_two_maps(client: TestClient, png: bytes) -> None:
    def signed_map(query: str) -> Floats:
        answer = client.post(f"{URL}?include=map&{query}", files={"file": ("a.png", png)}).json()
        return np.frombuffer(base64.b64decode(answer["map"]["data_base64"]), "<f4")

    assert signed_map("target=a&contrast=b") == pytest.approx(signed_map("target=a") - signed_map("target=b"), abs=1e-6)
    assert signed_map("target=a|b") == pytest.approx((signed_map("target=a") + signed_map("target=b")) / 2, abs=1e-6)


def test_kserve_explains_by_it(client: TestClient, png: bytes) -> None:
    instances = {"instances": [{"image_base64": base64.b64encode(png).decode()}]}
    answer = client.post("/v1/models/model:explain", json=instances).json()

    assert answer["model"]["method"] == "reciprocam"


def test_python_refuses_a_gradient_method(folder: Path) -> None:
    with pytest.raises(InvalidOption, match="gradcam needs gradients, and the model was compiled without: one of"):
        heatlens.Explainer.load(folder).explain(images(1, size=(SIDE, SIDE), seed=1)[0], method="gradcam")


def test_the_command_explains_with_it_and_refuses_gradients(folder: Path, png: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png)
    words = ["explain", "--model", str(folder), str(tmp_path / "a.png"), "-o", str(tmp_path / "out")]

    done = CliRunner().invoke(command, words)
    refused = CliRunner().invoke(command, [*words, "--method", "gradcam"])

    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "a.png.heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert refused.exit_code == 1
    assert "gradcam needs gradients" in refused.output
