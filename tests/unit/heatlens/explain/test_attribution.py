"""Every method against pytorch-grad-cam on a network that both can run: the engine here is that network itself."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam as referee
import torch
from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget, ClassifierOutputTarget
from torch import nn

from heatlens.card import Card
from heatlens.explain.attribution import METHOD_NAMES, MethodOptions, attribute, count_passes, count_runs
from heatlens.explain.multi_layer import combined
from heatlens.explain.perturbation import RERUNS
from heatlens.explain.targets import PREDICTED, TargetRequest
from heatlens.types import Floats, Indices
from tests.support.tiny import bare_card

CLASSES, CHANNELS, SIDE = 5, 7, 24
THEIRS: dict[str, Callable[..., Any]] = {
    "gradcam": referee.GradCAM,
    "gradcam++": referee.GradCAMPlusPlus,
    "xgradcam": referee.XGradCAM,
    "layercam": referee.LayerCAM,
    "hirescam": referee.HiResCAM,
    "gradcam-elementwise": referee.GradCAMElementWise,
    "eigencam": referee.EigenCAM,
    "eigengradcam": referee.EigenGradCAM,
    "ablationcam": referee.AblationCAM,
    "scorecam": referee.ScoreCAM,
}


class Network(nn.Module):
    """A trunk of two convolutions and a tail that is not linear in the activation."""

    def __init__(self, logits: int) -> None:
        super().__init__()
        self.logits = logits
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, CHANNELS, 3, 2, 1), nn.ReLU())
        self.tail = nn.Sequential(
            nn.Conv2d(CHANNELS, 9, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(36, logits)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.tail(self.trunk(image))  # type: ignore[no-any-return]


class TorchEngine:
    """The network cut in two, with PyTorch's own gradient; counts its passes, and the images that the tail gets."""

    name, precision, device = "torch", "f32", "CPU"

    def __init__(self, network: Network) -> None:
        self.network, self.trunks, self.tails, self.images = network, 0, 0, 0

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        self.trunks += len(batch)
        with torch.no_grad():
            return (self.network.trunk(torch.from_numpy(batch)).numpy(),)

    def tail(
        self, crossing: Sequence[Floats], selector: Floats, owners: Indices | None = None
    ) -> tuple[Floats, Floats]:
        self.tails += len(selector)
        self.images += len(crossing[0])
        own = crossing[0] if owners is None else crossing[0][owners]
        activation = torch.from_numpy(own).clone().requires_grad_()
        logits = self.network.tail(activation)
        rows = torch.from_numpy(selector).clone()
        for row, own in zip(rows, logits.detach(), strict=True):
            if not row.any():
                row[0 if len(own) == 1 else int(own.argmax())] = -1 if len(own) == 1 and own[0] < 0 else 1
        (gradient,) = torch.autograd.grad((rows * logits).sum(), activation)
        return logits.detach().numpy(), gradient.numpy()


@pytest.fixture(scope="module", params=["softmax", "sigmoid"])
def network(request: pytest.FixtureRequest) -> Network:
    torch.manual_seed(3)
    return Network(CLASSES if request.param == "softmax" else 1).eval()


@pytest.fixture(scope="module")
def images() -> Floats:
    return np.random.default_rng(5).standard_normal((4, 3, SIDE, SIDE), dtype=np.float32)


def card(network: Network) -> Card:
    names = tuple(f"class {index}" for index in range(max(2, network.logits)))
    return bare_card(names, "sigmoid" if network.logits == 1 else "softmax")


def expected(network: Network, method: str, images: Floats, classes: Sequence[int], **smooth: bool) -> Floats:
    """Their heat at the input's size, in 0..1."""
    target = BinaryClassifierOutputTarget if network.logits == 1 else ClassifierOutputTarget
    with warnings.catch_warnings(), THEIRS[method](model=network, target_layers=[network.trunk]) as cam:
        warnings.simplefilter("ignore")
        heat: Floats = cam(torch.from_numpy(images), [target(index) for index in classes], **smooth)
    return heat


@pytest.mark.parametrize("eigen_smooth", [False, True], ids=["plain", "eigen_smooth"])
@pytest.mark.parametrize("method", THEIRS)
def test_a_method_is_pytorch_grad_cams(network: Network, images: Floats, method: str, *, eigen_smooth: bool) -> None:
    found = attribute(
        TorchEngine(network), card(network), images, [PREDICTED] * 4, MethodOptions(method, eigen_smooth=eigen_smooth)
    )

    classes = [each.targets[0][0] for each in found]
    ours = combined([np.stack([each.signed_maps[0] for each in found])], (SIDE, SIDE))
    assert np.abs(ours - expected(network, method, images, classes, eigen_smooth=eigen_smooth)).max() < 1e-4
    assert ours.max() > 0.9


def test_every_method_but_one_is_compared_with_pytorch_grad_cam() -> None:
    assert set(METHOD_NAMES) - set(THEIRS) == {"reciprocam"}  # which pytorch-grad-cam does not have


@pytest.mark.parametrize("method", ["gradcam", "layercam", "ablationcam"])
def test_smoothing_by_augmentation_is_pytorch_grad_cams(network: Network, images: Floats, method: str) -> None:
    found = attribute(
        TorchEngine(network), card(network), images, [PREDICTED] * 4, MethodOptions(method, aug_smooth=True)
    )

    heats = np.stack([each.heats[0] for each in found if each.heats])
    classes = [each.targets[0][0] for each in found]
    assert np.abs(heats - expected(network, method, images, classes, aug_smooth=True)).max() < 1e-4
    assert heats.shape == (4, SIDE, SIDE)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_mixed_targets_of_a_batch_equal_single_targets(network: Network, images: Floats, method: str) -> None:
    wanted = [PREDICTED, TargetRequest(((1,), (0,))), TargetRequest(((1,),), ranks=2), TargetRequest(ranks=2)]
    engine, its = TorchEngine(network), card(network)

    together = attribute(engine, its, images, wanted, MethodOptions(method))

    for at, found in enumerate(together):
        for group, signed in zip(found.targets, found.signed_maps, strict=True):
            alone = attribute(engine, its, images[at : at + 1], [TargetRequest((group,))], MethodOptions(method))[0]
            assert signed == pytest.approx(alone.signed_maps[0], abs=2e-5 * float(np.abs(signed).max()))
    assert [len(found.targets) for found in together] == [1, 2, 2 if its.output == "sigmoid" else 3, 2]


def test_a_contrast_is_explained_by_the_difference_of_logits(images: Floats) -> None:
    torch.manual_seed(3)
    network = Network(CLASSES).eval()

    [found] = attribute(
        TorchEngine(network), card(network), images[:1], [TargetRequest(((2,),), contrast=4)], MethodOptions()
    )

    activation = network.trunk(torch.from_numpy(images[:1])).detach().requires_grad_()
    logits = network.tail(activation)[0]
    (gradient,) = torch.autograd.grad(logits[2] - logits[4], activation)
    weighted = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1)[0]
    assert found.signed_maps[0] == pytest.approx(weighted.detach().numpy(), abs=1e-6)


@pytest.mark.parametrize("contrast", [None, 0])
def test_a_group_is_explained_by_the_gradient_of_its_mean_logit(images: Floats, contrast: int | None) -> None:
    torch.manual_seed(3)
    network = Network(CLASSES).eval()
    request = TargetRequest(((2, 4),), contrast=contrast)

    [found] = attribute(TorchEngine(network), card(network), images[:1], [request], MethodOptions())

    activation = network.trunk(torch.from_numpy(images[:1])).detach().requires_grad_()
    logits = network.tail(activation)[0]
    explained = (logits[2] + logits[4]) / 2 - (0 if contrast is None else logits[contrast])
    (gradient,) = torch.autograd.grad(explained, activation)
    weighted = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1)[0]
    assert found.targets == [(2, 4)]
    assert found.signed_maps[0] == pytest.approx(weighted.detach().numpy(), abs=1e-6)


def test_any_number_of_targets_costs_one_pass_of_the_trunk(network: Network, images: Floats) -> None:
    engine = TorchEngine(network)

    attribute(engine, card(network), images, [TargetRequest(ranks=2)] * 4, MethodOptions())

    assert (engine.trunks, engine.tails) == (4, 4 + 8)


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (PREDICTED, 1),
        (TargetRequest(((1,),)), 1),
        (TargetRequest(((1,), (0,))), 2),
        (TargetRequest(((1,),), contrast=0), 1),
    ],
)
def test_fixed_classes_cost_one_tail_row_each(
    network: Network, images: Floats, wanted: TargetRequest, rows: int
) -> None:
    engine = TorchEngine(network)

    found = attribute(engine, card(network), images, [wanted, PREDICTED, PREDICTED, wanted], MethodOptions("layercam"))

    assert (engine.trunks, engine.tails) == (4, 2 * rows + 2)
    logits = network(torch.from_numpy(images)).detach().numpy()
    assert np.array([each.logits for each in found]) == pytest.approx(logits, abs=1e-6)


@pytest.mark.parametrize("targets", [1, 3, 10])
def test_the_tail_gets_an_image_once_for_all_its_targets(network: Network, images: Floats, targets: int) -> None:
    engine, classes = TorchEngine(network), tuple((index % network.logits,) for index in range(targets))

    attribute(engine, card(network), images, [TargetRequest(classes)] * 4, MethodOptions())

    assert (engine.trunks, engine.tails, engine.images) == (4, 4 * targets, 4)


@pytest.mark.parametrize("method", RERUNS)
def test_perturbation_methods_cost_the_declared_passes_for_any_targets(
    network: Network, images: Floats, method: str
) -> None:
    for wanted in (PREDICTED, TargetRequest(ranks=2)):
        engine = TorchEngine(network)
        attribute(engine, card(network), images[:1], [wanted], MethodOptions(method))
        reruns = engine.trunks - 1 if method == "scorecam" else engine.tails - 2
        assert reruns == CHANNELS
        assert count_passes(method, (CHANNELS, 6, 6)) == CHANNELS + 1


@pytest.mark.parametrize("aug_smooth", [False, True])
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_the_counted_runs_are_those_of_the_network(
    network: Network, images: Floats, method: str, *, aug_smooth: bool
) -> None:
    engine, wanted = TorchEngine(network), TargetRequest(((1,), (0,)))

    attribute(engine, card(network), images[:1], [wanted], MethodOptions(method, aug_smooth=aug_smooth))

    assert (engine.trunks, engine.tails) == count_runs(method, (CHANNELS, 6, 6), 2, aug_smooth=aug_smooth)


@pytest.mark.parametrize("asked", [PREDICTED, TargetRequest(((1,), (0,))), TargetRequest(ranks=2)])
def test_many_targets_run_in_parts(
    network: Network, images: Floats, monkeypatch: pytest.MonkeyPatch, asked: TargetRequest
) -> None:
    engine, its, wanted = TorchEngine(network), card(network), [asked] * 4
    whole = attribute(engine, its, images, wanted, MethodOptions())

    monkeypatch.setattr("heatlens.explain.attribution.TAIL_ROWS", 3)
    parts = attribute(engine, its, images, wanted, MethodOptions())

    for one, other in zip(whole, parts, strict=True):
        assert np.array(one.signed_maps) == pytest.approx(np.array(other.signed_maps), abs=1e-7)
        assert one.logits == pytest.approx(other.logits, abs=1e-7)


class LinearEngine:
    """One channel, whose mean is the logit of class 0; class 1's is the negated one."""

    name, precision, device = "linear", "f32", "CPU"

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        return (batch[:, :1],)

    def tail(self, crossing: Sequence[Floats], selector: Floats, _owners: object = None) -> tuple[Floats, Floats]:
        mean = crossing[0].mean(axis=(1, 2, 3))
        side = np.where(selector.any(axis=1), selector[:, 0] - selector[:, 1], 1).astype(np.float32)
        return np.stack([mean, -mean], axis=1), np.ones_like(crossing[0]) * side[:, None, None, None]


FLAT = {
    "black": np.zeros((1, 3, 4, 4), np.float32),
    "a logit next to 0": np.full((1, 3, 4, 4), 1e-42, np.float32),
    "values that cancel": np.tile(np.array([1, -1], np.float32), (1, 3, 4, 2)),
    "white": np.full((1, 3, 4, 4), 2, np.float32),
}


@pytest.mark.parametrize("eigen_smooth", [False, True], ids=["plain", "eigen_smooth"])
@pytest.mark.parametrize("image", FLAT.values(), ids=FLAT)
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_maps_of_flat_images_are_finite(method: str, image: Floats, *, eigen_smooth: bool) -> None:
    requests = [TargetRequest(((0,),)), TargetRequest(((1,),)), TargetRequest(((0,),), contrast=1)]
    for each in requests:
        [found] = attribute(
            LinearEngine(), bare_card(("a", "b"), "softmax"), image, [each], MethodOptions(method, eigen_smooth)
        )
        assert np.isfinite(found.signed_maps[0]).all()
